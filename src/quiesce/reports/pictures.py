"""What pages draw: positions and sizes, as numbers for SVG; no style is written into a page.

Reports and the console draw the same things by the same templates (``_pictures.html``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.model.report import ExecutionReport, StepReport
from quiesce.model.restore_point import RestorePoint
from quiesce.reports.critical import critical_path, critical_text, length_s, word_for
from quiesce.reports.text import moment, seconds, stored_text

#: width of every drawing, in its own units
WIDTH: Final = 1000
_ROW: Final = 24
_BAR: Final = 14
_SMALLEST: Final = 2.0
#: instances that are drawn; of a thousand the slowest are what matters
_MOST_LANES: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One operation in a timeline."""

    kind: str
    state: str
    x: float
    width: float
    title: str
    #: whether the frozen window waited for it
    critical: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One instance in a timeline."""

    label: str
    y: int
    bars: tuple[Bar, ...]
    #: x and width of the time that it was frozen; None: it was not
    frozen: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What happened to each instance between two moments."""

    lanes: tuple[Lane, ...]
    height: int
    begin_s: float
    end_s: float
    #: x and width of the frozen window; None: there was none
    window: tuple[float, float] | None
    left_out: int
    #: the operations that there are, for the legend
    kinds: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPictures:
    """An execution in pictures."""

    whole: Timeline
    #: the frozen window alone; None: there was none
    window: Timeline | None
    #: what made the window as long as it was; empty: nothing was frozen
    critical: str
    #: the steps that the window waited for: instance, operation, length
    path: tuple[tuple[str, str, str], ...]


def pictures_of(report: ExecutionReport) -> ExecutionPictures:
    """Return the drawings of *report*."""
    path = critical_path(report)
    critical, window = frozenset(path), report.window_span
    return ExecutionPictures(
        whole=_timeline(report, critical, 0.0, report.total_s),
        window=None if window is None or window[1] <= window[0] else _timeline(report, critical, *window),
        critical=critical_text(report, path),
        path=tuple((step.instance, word_for(step.operation), seconds(length_s(step))) for step in path),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """Seconds of an execution as places in a drawing."""

    begin_s: float
    end_s: float
    #: how long the execution has taken: until then lasts what has not ended
    total_s: float

    def ended(self, step: StepReport) -> float:
        """Return when *step* ended, or how far it is."""
        return step.ended_s if step.ended_s is not None else self.total_s

    def span(self, begin_s: float, end_s: float) -> tuple[float, float]:
        """Return x and width of what lasted from one moment to another."""
        begin, end = max(begin_s, self.begin_s), min(end_s, self.end_s)
        whole = self.end_s - self.begin_s
        return round(WIDTH * (begin - self.begin_s) / whole, 2), round(WIDTH * (end - begin) / whole, 2)


def _timeline(
    report: ExecutionReport, critical: Collection[StepReport], begin_s: float, end_s: float
) -> Timeline:
    scale = _Scale(begin_s=begin_s, end_s=end_s, total_s=report.total_s)
    shown = [step for step in report.timed if _began(step) <= end_s and scale.ended(step) >= begin_s]
    lanes: dict[str, list[StepReport]] = {}
    for step in shown:
        lanes.setdefault(step.instance, []).append(step)
    busiest = sorted(lanes, key=lambda name: -max(scale.ended(s) - _began(s) for s in lanes[name]))
    kept = sorted(busiest[:_MOST_LANES], key=lambda name: (min(map(_began, lanes[name])), name))
    window = report.window_span
    return Timeline(
        lanes=tuple(_lane(row, lanes[name], critical, scale) for row, name in enumerate(kept)),
        height=max(len(kept), 1) * _ROW,
        begin_s=begin_s,
        end_s=end_s,
        window=None if window is None else scale.span(*window),
        left_out=len(lanes) - len(kept),
        kinds=tuple({str(step.operation): word_for(step.operation) for step in shown}.items()),
    )


def _lane(row: int, steps: Sequence[StepReport], critical: Collection[StepReport], scale: _Scale) -> Lane:
    frozen = ExecutionReport.span_of(steps)
    return Lane(
        label=steps[0].instance,
        y=row * _ROW + (_ROW - _BAR) // 2,
        bars=tuple(_bar(step, critical, scale) for step in sorted(steps, key=_began)),
        frozen=None if frozen is None else scale.span(*frozen),
    )


def _bar(step: StepReport, critical: Collection[StepReport], scale: _Scale) -> Bar:
    x, width = scale.span(_began(step), scale.ended(step))
    message = f": {step.message}" if step.message else ""
    length = seconds(scale.ended(step) - _began(step))
    return Bar(
        kind=str(step.operation),
        state=step.state,
        x=min(x, WIDTH - _SMALLEST),
        width=max(width, _SMALLEST),
        title=f"{step.instance}: {word_for(step.operation)}, {step.state}, {length}{message}",
        critical=step in critical,
    )


def _began(step: StepReport) -> float:
    return step.began_s or 0.0


_TREND_HEIGHT: Final = 80
_TREND_POINTS: Final = 60
_TREND_BAR: Final = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendBar:
    """One restore point in a trend."""

    x: float
    y: float
    width: float
    height: float
    title: str
    #: whether it is the one that the page is about
    marked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A figure of restore points on an axis of time."""

    bars: tuple[TrendBar, ...]
    begin: float
    end: float
    highest: float


def window_trend(points: Sequence[RestorePoint], marked: str = "") -> Trend | None:
    """Return the frozen windows of the newest *points*, that of execution *marked* marked; None: no two."""
    return _trend([(point, point.window_s, seconds(point.window_s)) for point in points], marked)


def size_trend(points: Sequence[RestorePoint], marked: str = "") -> Trend | None:
    """Return how much is stored of the newest *points*; None: no two."""
    return _trend([(point, float(point.stored_bytes or 0), stored_text(point)) for point in points], marked)


def _trend(found: Sequence[tuple[RestorePoint, float, str]], marked: str) -> Trend | None:
    kept = [each for each in found if each[1] > 0 and not each[0].safety][-_TREND_POINTS:]
    if len(kept) < 2:
        return None
    begin, end = min(each[0].made_at for each in kept), max(each[0].made_at for each in kept)
    highest = max(value for _, value, _ in kept)
    return Trend(
        bars=tuple(
            TrendBar(
                x=round((WIDTH - _TREND_BAR) * (point.made_at - begin) / ((end - begin) or 1.0), 2),
                y=round(_TREND_HEIGHT * (1 - value / highest), 2),
                width=_TREND_BAR,
                height=round(_TREND_HEIGHT * value / highest, 2),
                title=f"{point.name}, {moment(point.made_at)}: {text}",
                marked=point.execution == marked,
            )
            for point, value, text in kept
        ),
        begin=begin,
        end=end,
        highest=highest,
    )
