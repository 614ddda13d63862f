"""Name the files in which two images differ: two builds from the same pins should differ in none."""

from __future__ import annotations

from qat8 import cli
from qat8.console import say
from qat8.containers import contents, engine
from qat8.errors import VerificationError

SHOWN = 40


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="compare_images", description=__doc__)
    parser.add_argument("images", nargs=2, help="names of the two images")
    args = parser.parse_args(argv)
    with engine.connect(timeout=600) as client:
        for tag in args.images:
            engine.image(client, tag)
        one, other = (contents.files(client, tag) for tag in args.images)
    different = contents.differences(one, other)
    for path in different[:SHOWN]:
        say(f"  {path}: {one.get(path, 'absent')} | {other.get(path, 'absent')}")
    if different:
        raise VerificationError(f"{len(different)} of {len({*one, *other})} files differ", "none")
    say(f"{len(one)} files, all the same")


if __name__ == "__main__":
    cli.run(main)
