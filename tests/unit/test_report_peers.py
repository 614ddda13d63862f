"""The peers' part of a report: who is ahead, by how much; ours stay beside the tutorial's."""

import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import pytest
import report_fixture as fixture
from rich.console import Console

from qat8.report import figures, peers, render, terminal, view
from qat8.results import PeerComparison


def with_peer(ratio=(0.8, 0.7, 0.9), peer="openvino"):
    """The fixture's results with a peer's runs at batch 50, one thread: `ratio` is ours over the peer's in INT8."""
    plain = fixture.make_results()
    model = plain.runs[0].model
    runs = [r for r in plain.runs if (r.model, r.tester, r.threads, r.batch_size) == (model, "python", 1, 50)]
    theirs = [r.model_copy(update={"tester": peer, "engine": "Engine 1.0", "top1": 0.5}) for r in runs]
    pairs = [
        PeerComparison(model=model, precision=p, peer=peer, tester=tester, threads=1, batch_size=50, ratio=r[0],
                       ratio_min=r[1], ratio_max=r[2], top1_diff=0.4, agreement=1.0)
        for tester in ("cpp", "python") for p, r in (("fp32", (1.0, 0.9, 1.1)), ("int8", ratio))
    ]  # fmt: skip
    return plain.model_copy(update={"runs": [*plain.runs, *theirs], "peers": pairs})


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        ((0.8, 0.7, 0.9), "OpenVINO is 1.25 times as fast as Paddle (1.11 to 1.43)."),
        ((1.5, 1.4, 1.6), "Paddle is 1.50 times as fast as OpenVINO (1.40 to 1.60)."),
        ((1.01, 0.9, 1.2), "of Paddle and OpenVINO neither is ahead (ratio 0.90 to 1.20)."),
    ],
)
def test_who_is_ahead_is_said_with_its_range_and_nothing_when_repetitions_disagree(ratio, said):
    (verdict,) = peers.verdicts(with_peer(ratio))
    assert verdict.endswith(f"INT8, 1 thread, batch 50: {said}")


def test_the_table_has_ours_above_each_peer_with_ratios_and_top1():
    table = peers.table(with_peer())
    ours, theirs = table.rows
    assert ours[1] == "Paddle" and ours[6:8] == ("–", "–")
    assert theirs[1] == "OpenVINO" and theirs[6:] == ("0.80", "0.70-0.90", "50.0 %")


def test_the_engine_is_what_peers_are_compared_with_where_it_ran_and_paddle_stays_beside_it():
    paddle = with_peer()
    mine = [run.model_copy(update={"tester": "engine"}) for run in paddle.runs if run.tester == "openvino"]
    pairs = [pair.model_copy(update={"tester": "engine", "ratio": 1.2, "ratio_min": 1.1, "ratio_max": 1.3})
             for pair in paddle.peers if pair.tester == "python"]  # fmt: skip
    results = paddle.model_copy(update={"runs": [*paddle.runs, *mine], "peers": [*paddle.peers, *pairs]})
    table = peers.table(results)
    assert [row[1] for row in table.rows] == ["qat8 engine", "Paddle", "OpenVINO"]
    assert [row[6] for row in table.rows] == ["–", "–", "1.20"] and "qat8 engine's INT8" in table.caption
    assert [said.split(": ", 1)[1] for said in peers.verdicts(results)] == [
        "qat8 engine is 1.20 times as fast as OpenVINO (1.10 to 1.30)."
    ]


def test_peers_change_nothing_in_what_is_said_of_ours():
    plain, results = fixture.make_results(), with_peer()
    assert figures.ours(results).runs == plain.runs
    before, after = view.build(plain), view.build(results)
    assert (after.summary, after.accuracy_summary, after.headlines) == (
        before.summary, before.accuracy_summary, before.headlines,
    )  # fmt: skip
    assert [s.id for s in after.sections if s.id != "peers"] == [s.id for s in before.sections]


def test_page_markdown_and_terminal_hold_the_comparison_and_the_engines_versions():
    results, out = with_peer(), io.StringIO()
    terminal.print_summary(results, Console(file=out, width=80))
    for content in (render.render_markdown(results), render.render_html(results), out.getvalue()):
        assert "OpenVINO is 1.25 times as fast as Paddle" in " ".join(content.split())
    assert "Engine 1.0" in render.render_markdown(results)
    assert "openvino" in render.render_csv(results)
