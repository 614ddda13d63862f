"""The results that docs/performance.md publishes are in the repository, and its tables are theirs."""

import published_tables as published
import pytest

from qat8 import results

pytestmark = pytest.mark.parametrize("file", published.FILES, ids=lambda file: file.stem)


def test_the_tables_of_performance_md_are_those_of_the_results_file(file):
    page = (published.REPO / "docs/performance.md").read_text()
    for table in published.tables(file):
        assert len(table) == 2 + len(published.PUBLISHED[file.stem]) and "\n".join(table) in page


def test_the_published_run_has_every_model_engine_batch_and_precision_and_says_what_it_is_worth(file):
    found = results.load(file)
    assert {(r.model, r.tester, r.batch_size, r.precision) for r in found.runs} == {
        (model, engine, batch, precision)
        for model in published.PUBLISHED[file.stem]
        for engine in published.ENGINES
        for batch in published.BATCHES
        for precision in ("fp32", "int8")
    }
    page = " ".join((published.REPO / "docs/performance.md").read_text().split())
    assert f"**{found.verdict}** (`{found.run_id}`" in page
