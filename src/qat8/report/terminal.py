"""The short form of a report, for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from qat8.report import peers, view
from qat8.report.tables import Table
from qat8.results import Results


def summary_table(results: Results) -> RichTable:
    """Speed and ratio of every configuration, with the tutorial's ratios beside."""
    return _rich(view.build(results).summary[0])


def print_summary(results: Results, console: Console) -> None:
    content = view.build(results)
    for banner in content.banners:
        console.print(f"[bold yellow]![/] {escape(banner)}", highlight=False)
    for table in (*content.summary, content.accuracy_summary):
        console.print(_rich(table), "")
    if results.peers:
        console.print(_rich(peers.table(results)), "")
    for headline in content.headlines:
        console.print(escape(headline), style="bold", highlight=False)
    for verdict in peers.verdicts(results):
        console.print(escape(verdict), highlight=False)


def _rich(table: Table) -> RichTable:
    drawn = RichTable(
        title=table.caption, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    for number, column in enumerate(table.columns):
        justify = "right" if table.is_figure(number) else "left"
        drawn.add_column(column, justify=justify, overflow="fold", no_wrap=number == 0)
    for row in table.rows:
        drawn.add_row(*map(escape, row))
    return drawn
