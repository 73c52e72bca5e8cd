"""Measure again and again: figures as a series in time, each an execution of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import click

from quiesce.app.run.execution import Watching
from quiesce.app.run.run import run_workflow
from quiesce.cli.console import Signals
from quiesce.cli.printing import say
from quiesce.cli.session import services
from quiesce.errors import ExitStatus, UsageError
from quiesce.model.report import ExecutionReport
from quiesce.model.request import WorkflowRequest
from quiesce.reports.json import render_json_line
from quiesce.reports.text import measured_lines

#: how long a signal is waited for at a time, in seconds
_LOOK_S: Final = 0.1

WATCH_OPTIONS: Final = (
    click.Option(
        ["--watch"],
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Do it again every so many seconds, until Ctrl-C: before, during and after a backup, say.",
    ),
    click.Option(
        ["--times"],
        type=click.IntRange(min=1),
        metavar="N",
        help="With --watch: end after N times.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedSeries:
    """How often something is measured again."""

    every_s: float
    #: None: until somebody ends it
    times: int | None

    @classmethod
    def of(cls, options: dict[str, Any]) -> WatchedSeries | None:
        """Take the series out of a command's *options*; None: it is to run once.

        Raises:
            UsageError: when a count was given, and no series.
        """
        every_s, times = options.pop("watch", None), options.pop("times", None)
        if every_s is None and times is not None:
            raise UsageError("--times is for --watch SECONDS")
        return None if every_s is None else cls(every_s=every_s, times=times)


def watch(request: WorkflowRequest, series: WatchedSeries, *, as_json: bool) -> int:
    """Run *request* again and again and print what each measured; return the exit status of the last one.

    A measuring that fails is told, and the series goes on; a signal ends it in good order.
    """
    status: int = ExitStatus.OK
    with Signals().caught() as signals, services() as given:
        for _ in _beats(series, lambda: signals.reason is not None):
            watching = Watching(cancel_asked=signals.cancel_asked, on_wake=signals.on_wake)
            result = run_workflow(given, request, watching)
            _tell(result.report, as_json=as_json)
            if signals.reason is not None:
                return ExitStatus.OK
            status = ExitStatus.OK if result.error is None else result.error.exit_status
            if result.error is not None:
                say(f"quiesce: {result.error}", err=True)
    return status


def _tell(report: ExecutionReport, *, as_json: bool) -> None:
    if as_json:
        at, figures = report.execution.created_at, report.measurements
        say(render_json_line("measured", {"at": at, "execution": report.execution.id, "figures": figures}))
        return
    for line in measured_lines(report):
        say(line)


def _beats(
    series: WatchedSeries,
    ended: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[int]:
    """Yield at equal distances in time; what took too long is not made up for."""
    due = clock()
    number = 0
    while series.times is None or number < series.times:
        yield number
        number += 1
        due = max(due + series.every_s, clock())
        while (left := due - clock()) > 0 and number != series.times:
            if ended():
                return
            sleep(min(left, _LOOK_S))
