"""Write the JSON Schema of results files, as published in docs/schema: what other programs may rely on."""

from __future__ import annotations

import json
from pathlib import Path

from qat8 import artifacts, cli, results
from qat8.console import say

PUBLISHED = artifacts.REPOSITORY / "docs" / "schema" / f"results-{results.SCHEMA}.schema.json"


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="schema", description=__doc__)
    parser.flag("output", default=str(PUBLISHED), help="file to write")
    path = Path(parser.parse_args(argv).output)
    with artifacts.atomic_file(path) as temporary:
        temporary.write_text(text())
    say(f"schema {results.SCHEMA}, revision {results.REVISION}: {artifacts.shown(path)}")


def text() -> str:
    """The schema (draft 2020-12), generated from `results.Results` by pydantic."""
    made = results.Results.model_json_schema(by_alias=True)
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = f"qat8 results, schema {results.SCHEMA}, revision {results.REVISION}"
    return json.dumps(made, indent=1) + "\n"


if __name__ == "__main__":
    cli.run(main)
