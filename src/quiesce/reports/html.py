"""An execution as one self-contained page, in the design that the console has."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import BaseLoader, Environment, PackageLoader, select_autoescape

from quiesce.model.figures import Measured
from quiesce.model.report import ExecutionReport
from quiesce.model.restore_point import RestorePoint
from quiesce.model.sizes import size_text
from quiesce.reports.classes import class_reasons, class_text
from quiesce.reports.escaping import printable_block
from quiesce.reports.pictures import WIDTH, pictures_of, size_trend, window_trend
from quiesce.reports.series import curves_of
from quiesce.reports.text import moment, seconds, stored_text


def page_environment(loader: BaseLoader) -> Environment:
    """Return what renders pages: of reports, and of the console."""
    environment = Environment(
        loader=loader,
        autoescape=select_autoescape(default=True, default_for_string=True),
        finalize=lambda value: printable_block(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        seconds=seconds,
        moment=moment,
        stored=stored_text,
        size=size_text,
        class_text=class_text,
        class_reasons=class_reasons,
    )
    environment.globals.update(width=WIDTH)
    return environment


def render_html(
    report: ExecutionReport, points: Sequence[RestorePoint] = (), measured: Sequence[Measured] = ()
) -> str:
    """Return the page; it needs nothing from any network.

    Beside the execution, all *points* of its deployment are drawn, and what was *measured* around it.
    """
    began = report.execution.created_at
    return (
        page_environment(PackageLoader("quiesce.reports", "templates"))
        .get_template("execution.html")
        .render(
            report=report,
            pictures=pictures_of(report),
            windows=window_trend(points, report.execution.id),
            sizes=size_trend(points, report.execution.id),
            curves=curves_of(measured, (began, report.execution.ended_at or began + report.total_s)),
        )
    )
