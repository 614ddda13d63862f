"""Results to a report. `figures` selects and computes, `text` formats, `view` arranges; the rest draws the view."""

from qat8.report.render import render_csv, render_html, render_markdown
from qat8.report.terminal import print_summary, summary_table

__all__ = ["print_summary", "render_csv", "render_html", "render_markdown", "summary_table"]
