"""An execution as one self-contained page: a timeline, with the frozen window marked."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, select_autoescape

from quiesce.model.operation import Operation
from quiesce.model.report import ExecutionReport, StepReport
from quiesce.reports.escaping import printable_block
from quiesce.reports.text import moment, seconds


def render_html(report: ExecutionReport) -> str:
    """Return the page; it needs nothing from any network."""
    environment = Environment(
        loader=PackageLoader("quiesce.reports", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        finalize=lambda value: printable_block(value) if type(value) is str else value,
    )
    environment.filters["seconds"] = seconds
    environment.filters["moment"] = moment
    timed = [step for step in report.steps if step.began_s is not None]
    total_s = max([step.ended_s or step.began_s or 0.0 for step in timed], default=0.0) or 1.0
    return environment.get_template("execution.html").render(
        report=report,
        rows=sorted(timed, key=lambda step: (step.began_s, step.step)),
        total_s=total_s,
        window=_window(timed),
        percent=lambda value: f"{100.0 * value / total_s:.3f}",
    )


def _window(steps: list[StepReport]) -> tuple[float, float] | None:
    freezes = [s.began_s for s in steps if s.operation is Operation.FREEZE and s.began_s is not None]
    thaws = [s.ended_s for s in steps if s.operation is Operation.THAW and s.ended_s is not None]
    return (min(freezes), max(thaws)) if freezes and thaws else None
