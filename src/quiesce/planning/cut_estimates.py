"""How long a cut will last that grows with what there is: at the rates of the last one, else carefully."""

from __future__ import annotations

from typing import Final

from quiesce.model.cut_size import Basis, CutEstimate, CutSize, Lasted

#: what is taken for granted where nothing was measured: a slow disk, and nothing of it in memory yet
_LEAST_S: Final = 0.01
_ENTRY_S: Final = 200e-6
_COMPARED_S: Final = 20e-6
_BYTES_A_SECOND: Final = 100 << 20
#: up to this growth the last cut's rates are believed to be the next one's
_ALIKE: Final = 4.0
_FROM_NOTHING: Final = 1e12


def estimate_cut(size: CutSize, last: Lasted | None) -> CutEstimate:
    """Return how long a cut of *size* will last, after *last* was seen of the same instance."""
    guess_s = _guessed_s(size)
    if last is None or last.size is None:
        least_s = 0.0 if last is None else last.seconds
        return CutEstimate(size=size, seconds=max(guess_s, least_s), basis=Basis.GUESSED)
    ratios = _ratios(size, last.size)
    if not last.finished:
        # however its time was spent: as much again takes as long again, at least
        seconds = max(guess_s, last.seconds * min(ratios))
        return CutEstimate(size=size, seconds=seconds, basis=Basis.TRIED)
    # whatever an entry and a byte cost, none of both has grown more
    scaled_s = last.seconds * max(ratios)
    if max(ratios) <= _ALIKE:
        return CutEstimate(size=size, seconds=scaled_s, basis=Basis.MEASURED)
    seconds = min(scaled_s, last.seconds + _guessed_s(_more(size, last.size)))
    return CutEstimate(size=size, seconds=seconds, basis=Basis.GUESSED)


def _guessed_s(size: CutSize) -> float:
    looked_at_s = size.entries * _ENTRY_S + size.compared * _COMPARED_S
    return _LEAST_S + looked_at_s + size.copied_bytes / _BYTES_A_SECOND


def _ratios(size: CutSize, last: CutSize) -> tuple[float, ...]:
    """Return how many times as many of each there are as at the *last* time."""
    return (
        _ratio(size.entries, last.entries),
        _ratio(size.copied_bytes, last.copied_bytes),
        _ratio(size.compared, last.compared),
    )


def _ratio(now: int, then: int) -> float:
    """Return *now* by *then*; from nothing to something is more than anything that was measured."""
    if then:
        return now / then
    return _FROM_NOTHING if now else 1.0


def _more(size: CutSize, last: CutSize) -> CutSize:
    return CutSize(
        entries=max(0, size.entries - last.entries),
        copied_bytes=max(0, size.copied_bytes - last.copied_bytes),
        compared=max(0, size.compared - last.compared),
    )
