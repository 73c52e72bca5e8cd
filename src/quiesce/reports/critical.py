"""What made a frozen window as long as it was."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.model.operation import Operation
from quiesce.model.report import ExecutionReport, StepReport

#: what people call an operation, where that is another word
_WORDS = {Operation.SNAPSHOT: "cut"}


def word_for(operation: Operation) -> str:
    """Return the word that people have for *operation*."""
    return _WORDS.get(operation, str(operation))


def length_s(step: StepReport) -> float:
    """Return how long *step* took, in seconds; 0 while that is not known."""
    return 0.0 if step.ended_s is None or step.began_s is None else step.ended_s - step.began_s


def critical_path(report: ExecutionReport) -> Sequence[StepReport]:
    """Return the steps that the window waited for, one after the other; none: nothing was frozen.

    It begins with what ended last; before each comes what ended last before that one began.
    """
    window = report.window_span
    if window is None:
        return ()
    inside = [step for step in report.timed if _is_within(step, window)]
    path: list[StepReport] = []
    until = window[1]
    for step in sorted(inside, key=_end, reverse=True):
        if _end(step) <= until:
            path.append(step)
            until = step.began_s or 0.0
    return path[::-1]


def critical_text(report: ExecutionReport, path: Sequence[StepReport]) -> str:
    """Return who made the window, in one sentence; empty: nothing was frozen."""
    if not path or report.window_span is None:
        return ""
    slowest = max(path, key=length_s)
    whole_ms = 1000 * (report.window_span[1] - report.window_span[0])
    took_ms = 1000 * length_s(slowest)
    unit, scale = ("ms", 1.0) if whole_ms < 10_000 else ("s", 1000.0)
    digits = 0 if unit == "ms" else 1
    return (
        f"{slowest.instance} made the window: its {word_for(slowest.operation)} took "
        f"{took_ms / scale:.{digits}f} {unit} of {whole_ms / scale:.{digits}f}"
    )


def _is_within(step: StepReport, window: tuple[float, float]) -> bool:
    return (
        step.began_s is not None
        and step.ended_s is not None
        and window[0] <= step.began_s <= step.ended_s <= window[1]
    )


def _end(step: StepReport) -> float:
    return step.ended_s or 0.0
