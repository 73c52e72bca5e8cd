"""A storage that answers badly is asked again, for a bounded time, and nothing happens twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import (
    ObjectExistsError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageUnavailableError,
)
from quiesce.model.stored_object import ObjectName, object_name
from quiesce.ports import Data
from quiesce.storage import MemoryStorage, Patience, RetryingStorage

from .faulty import Clock, FaultyStorage, by_chance

NAME = object_name("packs/one")


def retrying(plan: Iterator[str], **patience: float) -> tuple[RetryingStorage, FaultyStorage, Clock]:
    faulty, clock = FaultyStorage(plan), Clock()
    storage = RetryingStorage(
        faulty, patience=Patience(**patience), tick=clock.tick, sleep=clock.sleep, chance=lambda: 1.0
    )
    return storage, faulty, clock


def test_every_call_is_made_again_until_it_is_answered() -> None:
    storage, faulty, _ = retrying(itertools.cycle(["before", "after", "before", "none"]))
    storage.put(NAME, b"data")
    assert storage.get(NAME) == b"data"
    assert storage.stat(NAME).size_bytes == 4
    assert [found.name for found in storage.list()] == [NAME]
    storage.delete(NAME)
    with pytest.raises(ObjectNotFoundError):
        storage.get(NAME)
    assert faulty.calls > 12


def test_the_pauses_grow_to_a_bound_and_so_does_the_whole() -> None:
    storage, _, clock = retrying(
        itertools.repeat("before"), first_pause_s=1, longest_pause_s=8, give_up_after_s=60
    )
    with pytest.raises(StorageUnavailableError, match="no connection"):
        storage.get(NAME)
    assert clock.pauses == [1, 2, 4, 8, 8, 8, 8, 8, 8]


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1))
def test_no_pause_is_longer_than_the_longest_nor_shorter_than_half_of_the_first(
    failures: int, chance: float
) -> None:
    patience = Patience(first_pause_s=0.5, longest_pause_s=30)
    assert 0.25 <= patience.pause_s(failures, chance) <= 30


def test_what_is_no_fault_of_the_network_is_not_asked_again() -> None:
    storage, faulty, clock = retrying(iter(()))
    with pytest.raises(ObjectNotFoundError):
        storage.get(NAME)
    assert faulty.calls == 1

    class Denied(MemoryStorage):
        def put(self, name: ObjectName, data: Data, *, exclusive: bool = False) -> None:
            raise StorageDeniedError("no")

    with pytest.raises(StorageDeniedError):
        RetryingStorage(Denied(), sleep=clock.sleep).put(NAME, b"")
    assert clock.pauses == []


def test_an_exclusive_put_whose_answer_was_lost_has_succeeded() -> None:
    storage, faulty, _ = retrying(iter(["after"]))
    storage.put(NAME, b"mine", exclusive=True)
    assert faulty.calls == 3
    assert storage.get(NAME) == b"mine"


@pytest.mark.parametrize("plan", [[], ["before"], ["after"], ["before", "after", "before"]])
def test_an_exclusive_put_never_takes_the_object_of_somebody_else_for_its_own(plan: list[str]) -> None:
    storage, faulty, _ = retrying(iter(plan))
    MemoryStorage.put(faulty, NAME, b"theirs")
    with pytest.raises(ObjectExistsError):
        storage.put(NAME, b"mine", exclusive=True)
    assert MemoryStorage.get(faulty, NAME) == b"theirs"


def test_without_a_failure_before_the_same_bytes_are_somebody_elses() -> None:
    storage, faulty, _ = retrying(iter(()))
    MemoryStorage.put(faulty, NAME, b"same")
    with pytest.raises(ObjectExistsError):
        storage.put(NAME, b"same", exclusive=True)


def test_what_comes_of_a_put_that_is_deleted_while_it_is_repeated_is_said() -> None:
    """The object is gone when it is looked at: then somebody had it, and it is not ours to say."""
    storage, faulty, _ = retrying(iter(["after"]))
    original = MemoryStorage.get
    faulty.get = lambda *_, **__: (_ for _ in ()).throw(ObjectNotFoundError("gone"))  # type: ignore[method-assign]
    with pytest.raises(ObjectExistsError):
        storage.put(NAME, b"mine", exclusive=True)
    assert original(faulty, NAME) == b"mine"


@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.4))
def test_a_listing_that_breaks_off_yields_everything_once(seed: int, share: float) -> None:
    storage, faulty, _ = retrying(by_chance(seed, share), give_up_after_s=1e12)
    names = {object_name(f"packs/{number}") for number in range(15)}
    for name in names:
        MemoryStorage.put(faulty, name, b"")
    seen = [found.name for found in storage.list("packs")]
    assert len(seen) == len(names)
    assert set(seen) == names


def test_a_listing_that_goes_on_is_given_the_whole_time_after_each_failure() -> None:
    """An hour of listing with a failure every minute is no failure of an hour."""
    plan = [fault for pages in range(1, 5) for fault in [*["none"] * pages, "before"]]
    storage, faulty, clock = retrying(iter(plan), first_pause_s=50, longest_pause_s=50, give_up_after_s=60)
    for number in range(25):
        MemoryStorage.put(faulty, object_name(f"packs/{number}"), b"")
    assert len(list(storage.list())) == 25
    assert clock.pauses == [50] * 4


def test_the_one_who_sleeps_may_give_up() -> None:
    class Cancelled(BaseException):
        pass

    def sleep(_: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        RetryingStorage(FaultyStorage(itertools.repeat("before")), sleep=sleep).put(NAME, b"")
