"""How long a cut will last: never called measured where nothing alike was, never below what is known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quiesce.model.cut_size import Basis, CutSize, Lasted
from quiesce.planning import estimate_cut

GIB = 1 << 30
SMALL = CutSize(entries=1000, copied_bytes=50 << 20)
sizes = st.builds(CutSize, entries=st.integers(1, 10**7), copied_bytes=st.integers(0, 1 << 42))


def test_the_first_cut_is_guessed_carefully() -> None:
    """Four gibibytes on a disk that cannot share them were predicted to last 310 ms, and took over 30 s."""
    first = estimate_cut(CutSize(entries=40, copied_bytes=4 * GIB), None)
    assert (first.basis, first.seconds > 30.0) == (Basis.GUESSED, True)
    assert estimate_cut(CutSize(entries=200_000), None).seconds > 30.0
    assert estimate_cut(CutSize(entries=3, copied_bytes=1000), None).seconds < 0.02


def test_the_next_one_lasts_as_the_last() -> None:
    last = Lasted(seconds=2.0, size=SMALL)
    twice = CutSize(entries=1000, copied_bytes=100 << 20)
    assert estimate_cut(SMALL, last).seconds == 2.0
    assert estimate_cut(twice, last).seconds == 4.0
    assert {estimate_cut(size, last).basis for size in (SMALL, twice)} == {Basis.MEASURED}


def test_what_has_grown_much_is_not_called_measured() -> None:
    last = Lasted(seconds=0.01, size=CutSize(entries=3, copied_bytes=10))
    grown = estimate_cut(CutSize(entries=3, copied_bytes=4 * GIB), last)
    assert (grown.basis, grown.seconds > 30.0) == (Basis.GUESSED, True)


def test_what_was_not_there_at_the_last_cut_is_not_called_measured() -> None:
    last = Lasted(seconds=2.0, size=CutSize(entries=1000))
    grown = estimate_cut(CutSize(entries=1000, copied_bytes=GIB), last)
    assert (grown.basis, grown.seconds > 10.0) == (Basis.GUESSED, True)
    assert estimate_cut(CutSize(entries=1000), last).basis is Basis.MEASURED


def test_what_was_broken_off_is_not_believed_to_be_quicker_until_there_is_less() -> None:
    tried = Lasted(seconds=30.0, finished=False, size=SMALL)
    assert estimate_cut(SMALL, tried).seconds == 30.0
    assert estimate_cut(SMALL, tried).basis is Basis.TRIED
    assert estimate_cut(CutSize(entries=10, copied_bytes=1 << 20), tried).seconds < 1.0


@given(sizes, sizes, st.floats(1e-7, 1e-2), st.floats(1e-11, 1e-6))
def test_no_rates_make_a_measured_cut_longer_than_estimated(
    then: CutSize, now: CutSize, entry_s: float, byte_s: float
) -> None:
    """Whatever an entry and a byte cost, if they cost the same again."""

    def lasts(size: CutSize) -> float:
        return size.entries * entry_s + size.copied_bytes * byte_s

    estimate = estimate_cut(now, Lasted(seconds=lasts(then), size=then))
    if estimate.basis is Basis.MEASURED:
        assert estimate.seconds >= lasts(now) * 0.999
