"""Waiting ends when nobody waits any more."""

from __future__ import annotations

import pytest

from quiesce.errors import OperationTimeoutError
from quiesce.provider_kit.deadline import Deadline


class Time:
    """A context whose time passes only by sleeping."""

    def __init__(self, left_s: float) -> None:
        self.left_s = left_s
        self.slept: list[float] = []
        self.gone = False

    def remaining_s(self) -> float:
        return self.left_s

    def given_up(self) -> bool:
        return self.gone

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.left_s -= seconds


def deadline(time: Time) -> Deadline:
    return Deadline(time, "the disk", time.sleep)  # type: ignore[arg-type]


def test_a_request_may_take_what_is_left_and_no_more_than_it_wants() -> None:
    assert deadline(Time(5.0)).left_s() == 5.0
    assert deadline(Time(5.0)).left_s(2.0) == 2.0


def test_nothing_begins_when_the_time_is_over() -> None:
    with pytest.raises(OperationTimeoutError, match="waiting for the disk"):
        deadline(Time(0.0)).left_s()


def test_nothing_begins_when_nobody_waits() -> None:
    time = Time(5.0)
    time.gone = True
    with pytest.raises(OperationTimeoutError):
        deadline(time).pause(1.0)
    assert time.slept == []


def test_a_pause_ends_with_the_time() -> None:
    time = Time(1.2)
    with pytest.raises(OperationTimeoutError):
        deadline(time).pause(60.0)
    assert sum(time.slept) == pytest.approx(1.2)


def test_a_pause_looks_now_and_then_whether_anybody_waits() -> None:
    time = Time(100.0)
    deadline(time).pause(3.0)
    assert len(time.slept) >= 6
    assert sum(time.slept) == pytest.approx(3.0)


def test_pauses_grow_to_a_bound() -> None:
    time = Time(1e9)
    pauses = []
    for attempt in range(1, 40):
        before = time.left_s
        deadline(time).back_off(attempt)
        pauses.append(before - time.left_s)
    assert pauses[0] < 0.4
    assert max(pauses) <= 8.0 * 1.25
    assert min(pauses[10:]) >= 8.0 * 0.75


def test_until_gives_what_is_found_first() -> None:
    time = Time(1e9)
    answers = iter([None, None, "here", "later"])
    assert deadline(time).until(lambda: next(answers)) == "here"


def test_until_ends_with_the_time() -> None:
    with pytest.raises(OperationTimeoutError):
        deadline(Time(10.0)).until(lambda: None)
