"""An execution as one self-contained page: a timeline, with the frozen window marked."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, select_autoescape

from quiesce.model.report import ExecutionReport
from quiesce.reports.escaping import printable_block
from quiesce.reports.text import moment, seconds, stored_text


def render_html(report: ExecutionReport) -> str:
    """Return the page; it needs nothing from any network."""
    environment = Environment(
        loader=PackageLoader("quiesce.reports", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        finalize=lambda value: printable_block(value) if type(value) is str else value,
    )
    environment.filters["seconds"] = seconds
    environment.filters["moment"] = moment
    environment.filters["stored"] = stored_text
    total_s = report.total_s
    return environment.get_template("execution.html").render(
        report=report,
        rows=sorted(report.timed, key=lambda step: (step.began_s, step.step)),
        total_s=total_s,
        window=report.window_span,
        percent=lambda value: f"{100.0 * value / total_s:.3f}",
    )
