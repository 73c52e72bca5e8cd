"""How a workload did before, during and after an execution, as curves."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.model.figures import Measured
from quiesce.model.sizes import size_text
from quiesce.reports.pictures import WIDTH

_HEIGHT: Final = 40
#: curves on one page; of more, those that changed most
_MOST: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One figure of one instance in time."""

    instance: str
    figure: str
    #: of a polyline: ``x,y x,y``
    points: str
    #: the mean of what was measured, for people; ``-``: nothing was
    before: str
    during: str
    after: str
    last: str
    low: str
    high: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """All of them, on one axis of time."""

    curves: tuple[Curve, ...]
    begin: float
    end: float
    #: x and width of the execution; None: they are of no execution
    span: tuple[float, float] | None
    #: figures that were the same all the time: instance, figure, value
    constant: tuple[tuple[str, str, str], ...]
    left_out: int


def curves_of(measured: Sequence[Measured], span: tuple[float, float] | None = None) -> Curves | None:
    """Return the curves of what was *measured*, around an execution that lasted for *span*; None: no two."""
    if len(measured) < 2:
        return None
    begin, end = measured[0].at, measured[-1].at
    if span is not None:
        begin, end = min(begin, span[0]), max(end, span[1])
    series: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for each in measured:
        for instance, figures in each.figures.items():
            for name, value in figures.items():
                series.setdefault((instance, name), []).append((each.at, value))
    moving = [key for key, values in series.items() if len({value for _, value in values}) > 1]
    kept = sorted(moving, key=lambda key: -_change(series[key]))[:_MOST]
    return Curves(
        curves=tuple(_curve(*key, series[key], (begin, end), span) for key in sorted(kept)),
        begin=begin,
        end=end,
        span=None if span is None else (_x(span[0], begin, end), _width(span, begin, end)),
        constant=tuple(
            (*key, figure_text(key[1], series[key][0][1])) for key in sorted(series.keys() - set(moving))
        ),
        left_out=len(moving) - len(kept),
    )


def _curve(
    instance: str,
    name: str,
    series: Sequence[tuple[float, float]],
    axis: tuple[float, float],
    span: tuple[float, float] | None,
) -> Curve:
    values = [value for _, value in series]
    low, high = min(values), max(values)
    begin, end = span if span is not None else axis
    return Curve(
        instance=instance,
        figure=name,
        points=" ".join(f"{_x(at, *axis)},{_y(value, low, high)}" for at, value in series),
        before=_mean(name, (value for at, value in series if at < begin)),
        during=_mean(name, (value for at, value in series if begin <= at <= end)),
        after=_mean(name, (value for at, value in series if at > end)),
        last=figure_text(name, values[-1]),
        low=figure_text(name, low),
        high=figure_text(name, high),
    )


def figure_text(name: str, value: float) -> str:
    """Return a figure for people; its unit is in its name."""
    if name.endswith("_bytes"):
        return size_text(int(value))
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def _mean(name: str, values: Iterable[float]) -> str:
    found = list(values)
    return figure_text(name, statistics.fmean(found)) if found else "-"


def _change(series: Sequence[tuple[float, float]]) -> float:
    values = [value for _, value in series]
    highest = max(map(abs, values))
    return (max(values) - min(values)) / highest if highest else 0.0


def _x(at: float, begin: float, end: float) -> float:
    return round(WIDTH * (at - begin) / ((end - begin) or 1.0), 2)


def _width(span: tuple[float, float], begin: float, end: float) -> float:
    return max(round(WIDTH * (span[1] - span[0]) / ((end - begin) or 1.0), 2), 2.0)


def _y(value: float, low: float, high: float) -> float:
    return round(_HEIGHT - 2 - (_HEIGHT - 4) * (value - low) / ((high - low) or 1.0), 2)
