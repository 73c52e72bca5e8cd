"""Waiting with few requests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from quiesce.errors import NonRecoverableError, OperationTimeoutError, ProviderError, RecoverableError
from quiesce.providers.openstack.waiting import Pace, Watch
from quiesce.testing import RecordingContext

PACE = Pace(gather_s=0.02, least_s=0.01, most_s=0.02)


@dataclass(frozen=True)
class Thing:
    id: str
    name: str = ""


class Service:
    """Answers lists; things appear after some of them."""

    def __init__(self, *, after: int = 0, errors: tuple[ProviderError, ...] = ()) -> None:
        self.after = after
        self.errors = list(errors)
        self.lists = 0
        self.looks: list[str] = []

    def every(self) -> list[Thing]:
        self.lists += 1
        if self.errors:
            raise self.errors.pop(0)
        return [Thing("a"), Thing("b")] if self.lists > self.after else []

    def one(self, name: str) -> Thing | None:
        self.looks.append(name)
        return Thing(name) if len(self.looks) > self.after else None

    def watch(self) -> Watch[Thing]:
        return Watch(self.every, self.one, PACE)


def together(count: int, action: Callable[[int], object]) -> list[object]:
    answers: list[object] = [None] * count

    def run(number: int) -> None:
        answers[number] = action(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_one_list_answers_everybody_who_waits() -> None:
    service = Service(after=3)
    watch = service.watch()
    context = RecordingContext(timeout_s=5)
    answers = together(20, lambda _: watch.until(lambda listing: listing.get("a"), context, what="a"))
    assert answers == [Thing("a")] * 20
    assert service.lists == 4


def test_a_single_object_is_looked_at_alone() -> None:
    service = Service(after=1)
    found = service.watch().until(
        lambda listing: listing.get("x"), RecordingContext(timeout_s=5), what="x", only="x"
    )
    assert found == Thing("x")
    assert service.looks == ["x", "x"]
    assert service.lists == 0


def test_several_objects_are_looked_at_by_one_list() -> None:
    service = Service(after=1)
    watch = service.watch()
    context = RecordingContext(timeout_s=5)
    together(2, lambda n: watch.until(lambda li: li.get("ab"[n]), context, what="x", only="ab"[n]))
    assert service.lists == 2
    assert service.looks == []


def test_an_answer_is_never_older_than_the_question() -> None:
    service = Service()
    watch = service.watch()
    for asked in range(1, 4):
        watch.now(RecordingContext(timeout_s=5), what="a list")
        assert service.lists >= asked


def test_a_passing_error_is_waited_out() -> None:
    service = Service(errors=(RecoverableError("busy"), RecoverableError("busy")))
    found = service.watch().now(RecordingContext(timeout_s=5), what="a list")
    assert set(found) == {"a", "b"}


def test_a_lasting_error_reaches_everybody() -> None:
    service = Service(errors=(NonRecoverableError("forbidden"),))
    with pytest.raises(NonRecoverableError, match="forbidden"):
        service.watch().now(RecordingContext(timeout_s=5), what="a list")


def test_what_is_not_understood_ends_no_thread_silently() -> None:
    def broken() -> list[Thing]:
        raise KeyError("id")

    watch: Watch[Thing] = Watch(broken, lambda _: None, PACE)
    with pytest.raises(ProviderError, match="not understood"):
        watch.now(RecordingContext(timeout_s=5), what="a list")


def test_waiting_ends_with_the_time_given_and_says_for_what() -> None:
    watch = Service(after=1000).watch()
    with pytest.raises(OperationTimeoutError, match="the thing"):
        watch.until(lambda listing: listing.get("a"), RecordingContext(timeout_s=0.05), what="the thing")


def test_waiting_ends_when_nobody_waits_any_more() -> None:
    watch = Service(after=1000).watch()
    context = RecordingContext(timeout_s=60)
    context.give_up()
    with pytest.raises(OperationTimeoutError):
        watch.until(lambda listing: listing.get("a"), context, what="the thing")


def test_the_pause_grows_with_the_waiting_up_to_a_bound() -> None:
    pace = Pace(least_s=0.25, most_s=5.0, share=0.2)
    assert [pace.pause_s(waited_s) for waited_s in (0, 5, 100)] == [0.25, 1.0, 5.0]


def test_it_is_looked_more_often_while_something_is_frozen() -> None:
    """By a twentieth at most may a window grow because nobody looked."""
    pace = Pace(least_s=0.25, most_s=5.0, share=0.2, frozen_share=0.05)
    assert [pace.pause_s(waited_s, frozen=True) for waited_s in (0, 10, 40, 1000)] == [0.25, 0.5, 2.0, 5.0]


def test_the_most_urgent_of_those_who_wait_sets_the_pace() -> None:
    service = Service(after=3)
    watch = Watch(service.every, service.one, Pace(gather_s=0.001, least_s=0.001, most_s=60, share=1e9))
    patient = threading.Thread(target=_a_of, args=(watch,), kwargs={"frozen": False})
    patient.start()
    assert _a_of(watch, frozen=True) == Thing("a")
    patient.join(10)
    assert not patient.is_alive()


def _a_of(watch: Watch[Thing], *, frozen: bool) -> Thing:
    context = RecordingContext(timeout_s=30)
    return watch.until(lambda listing: listing.get("a"), context, what="a", frozen=frozen)


def test_a_list_asked_for_ahead_is_there_when_it_is_needed() -> None:
    service = Service()
    watch = service.watch()
    with watch.ahead(RecordingContext(timeout_s=5), what="a list") as asked:
        assert set(asked()) == {"a", "b"}


def test_the_watch_can_be_used_again_after_it_has_rested() -> None:
    service = Service()
    watch = service.watch()
    context = RecordingContext(timeout_s=5)
    for _ in range(3):
        watch.now(context, what="a list")
        threading.Event().wait(0.05)
    assert service.lists == 3
