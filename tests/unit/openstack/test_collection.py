"""Looking things up with few requests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from fake_openstack import FakeOpenStack
from hands import Hands

from quiesce.errors import OperationTimeoutError
from quiesce.model.operation import Operation
from quiesce.provider_kit.job import Job
from quiesce.provider_kit.listing import Pace
from quiesce.providers.openstack.collection import Collection
from quiesce.testing import RecordingContext

PACE = Pace(gather_s=0.02, least_s=0.01, most_s=0.02)


@dataclass(frozen=True)
class Thing:
    id: str
    name: str = ""


class Service:
    """Answers lists; things appear after some of them."""

    def __init__(self, *, after: int = 0) -> None:
        self.after = after
        self.lists = 0
        self.looks: list[str] = []

    def every(self) -> list[Thing]:
        self.lists += 1
        return [Thing("a"), Thing("b")] if self.lists > self.after else []

    def one(self, name: str) -> Thing | None:
        self.looks.append(name)
        return Thing(name) if len(self.looks) > self.after else None

    def collection(self) -> Collection[Thing]:
        return Collection("things", self.every, self.one, PACE)


@pytest.fixture
def job() -> Job:
    return a_job(5)


def a_job(timeout_s: float) -> Job:
    call = Hands(FakeOpenStack()).call(Operation.SNAPSHOT, "x")
    return Job(call=call, context=RecordingContext(timeout_s=timeout_s))


def at_once(*actions: Callable[[], object]) -> None:
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_single_object_is_looked_at_alone(job: Job) -> None:
    service = Service(after=1)
    assert service.collection().until("x", lambda found: found, job, "x") == Thing("x")
    assert service.looks == ["x", "x"]
    assert service.lists == 0


def test_several_objects_are_looked_at_by_one_list(job: Job) -> None:
    service = Service(after=1)
    things = service.collection()
    at_once(*(lambda name=name: things.until(name, lambda found: found, job, "x") for name in "ab"))
    assert service.lists == 2
    assert service.looks == []


def test_who_wants_a_list_and_who_wants_one_object_share_a_request(job: Job) -> None:
    service = Service()
    things = service.collection()
    at_once(lambda: things.listed(job), lambda: things.find("a", job))
    assert (service.lists, service.looks) == (1, [])


def test_what_is_not_there_is_none(job: Job) -> None:
    assert Service(after=1).collection().find("x", job) is None


def test_a_list_asked_for_ahead_is_there_when_it_is_needed(job: Job) -> None:
    with Service().collection().ahead(job) as asked:
        assert set(asked()) == {"a", "b"}


def test_a_list_is_asked_for_again_until_it_is_as_wanted(job: Job) -> None:
    service = Service(after=2)
    assert service.collection().until_listed(lambda listing: len(listing) or None, job, "them") == 2
    assert service.lists == 3


def test_waiting_ends_with_the_time_given_and_says_for_what() -> None:
    with pytest.raises(OperationTimeoutError, match="the thing"):
        Service(after=10_000).collection().until("a", lambda found: found, a_job(0.05), "the thing")


def test_waiting_for_the_end_of_something_ends_with_it(job: Job) -> None:
    there = [Thing("a"), Thing("a")]
    things = Collection("things", list, lambda _: there.pop() if there else None, PACE)
    things.until_gone("a", job)
    assert there == []
