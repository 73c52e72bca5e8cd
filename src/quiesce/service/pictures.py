"""What pages draw: positions and sizes, as numbers for SVG; no style is written into a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.model.report import ExecutionReport, StepReport
from quiesce.model.restore_point import RestorePoint
from quiesce.reports.text import seconds

#: width of every drawing, in its own units
WIDTH: Final = 1000
_ROW: Final = 22
_BAR: Final = 14
_SMALLEST: Final = 2.0
#: rows that are drawn; of a thousand instances the slowest are what matters
_MOST_ROWS: Final = 60
_TREND_HEIGHT: Final = 80
_TREND_POINTS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One operation in a timeline."""

    label: str
    kind: str
    state: str
    x: float
    y: int
    width: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """An execution as bars; the frozen window is marked."""

    bars: tuple[Bar, ...]
    height: int
    total_s: float
    #: x and width; None: nothing was frozen
    window: tuple[float, float] | None
    left_out: int
    #: what made the window as long as it was; empty: nothing was frozen
    critical: str


def timeline(report: ExecutionReport) -> Timeline:
    """Return the drawing of *report*."""
    timed, total_s, window = report.timed, report.total_s, report.window_span
    longest = sorted(timed, key=_length, reverse=True)[:_MOST_ROWS]
    shown = sorted(longest, key=lambda step: (step.began_s or 0.0, step.step))
    bars = tuple(_bar(step, row, total_s) for row, step in enumerate(shown))
    return Timeline(
        bars=bars,
        height=max(len(bars), 1) * _ROW,
        total_s=total_s,
        window=None if window is None else (_x(window[0], total_s), _x(window[1] - window[0], total_s)),
        left_out=len(timed) - len(bars),
        critical=_critical(timed, window),
    )


def _critical(steps: Sequence[StepReport], window: tuple[float, float] | None) -> str:
    if window is None:
        return ""
    inside = [
        step
        for step in steps
        if step.began_s is not None
        and step.ended_s is not None
        and window[0] <= step.began_s <= step.ended_s <= window[1]
    ]
    if not inside:
        return ""
    slowest = max(inside, key=_length)
    return (
        f"{slowest.instance} made the window: its {slowest.operation} took {seconds(_length(slowest))} "
        f"of {seconds(window[1] - window[0])}"
    )


def _length(step: StepReport) -> float:
    return (step.ended_s if step.ended_s is not None else step.began_s or 0.0) - (step.began_s or 0.0)


def _bar(step: StepReport, row: int, total_s: float) -> Bar:
    end = step.ended_s if step.ended_s is not None else total_s
    began = step.began_s or 0.0
    message = f": {step.message}" if step.message else ""
    return Bar(
        label=f"{step.instance}: {step.operation}",
        kind=str(step.operation),
        state=step.state,
        x=_x(began, total_s),
        y=row * _ROW + (_ROW - _BAR) // 2,
        width=max(_x(end - began, total_s), _SMALLEST),
        title=f"{step.interface}, {step.state}, {seconds(end - began)}{message}",
    )


def _x(value_s: float, total_s: float) -> float:
    return round(WIDTH * value_s / total_s, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendBar:
    """One restore point in a trend."""

    x: float
    y: float
    width: float
    height: float
    title: str


def window_trend(points: Sequence[RestorePoint]) -> tuple[TrendBar, ...]:
    """Return the frozen windows of the newest *points*, oldest first, as bars of `TREND_HEIGHT`."""
    frozen = [point for point in points if point.window_s > 0][-_TREND_POINTS:]
    highest = max((point.window_s for point in frozen), default=0.0)
    step = WIDTH / max(len(frozen), 12)
    return tuple(
        TrendBar(
            x=round(number * step, 2),
            y=round(_TREND_HEIGHT * (1 - point.window_s / highest), 2),
            width=round(step * 0.7, 2),
            height=round(_TREND_HEIGHT * point.window_s / highest, 2),
            title=f"{point.name}: {seconds(point.window_s)}",
        )
        for number, point in enumerate(frozen)
    )
