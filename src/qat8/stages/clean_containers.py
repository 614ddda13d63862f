"""Remove the containers that killed runs left; running ones of living tasks stay, unless --all."""

from __future__ import annotations

from qat8 import cli
from qat8.console import say
from qat8.containers import engine, leftovers


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="clean_containers", description=__doc__)
    parser.flag("all", default=False, help="those of living tasks and of other machines' tasks, too")
    args = parser.parse_args(argv)
    with engine.connect() as client:
        removed = leftovers.remove(client, args.all)
    for container in removed:
        say(f"removed {container.id}: {container.stage} of run {container.run_id}, {container.state}")
    say(f"{len(removed)} containers removed")


if __name__ == "__main__":
    cli.run(main)
