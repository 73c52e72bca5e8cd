"""Bandwidth and connections hold; who only reads changes nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from quiesce.errors import StorageDeniedError
from quiesce.model.stored_object import ObjectName, object_name
from quiesce.storage import Limits, MemoryStorage, ReadOnlyStorage, ThrottledStorage

from .faulty import Clock

NAME = object_name("packs/one")


def throttled(**limits: float) -> tuple[ThrottledStorage, MemoryStorage, Clock]:
    kept, clock = MemoryStorage(), Clock()
    return ThrottledStorage(kept, Limits(**limits), tick=clock.tick, sleep=clock.sleep), kept, clock


def test_what_is_put_goes_at_the_bandwidth_on_average() -> None:
    storage, _, clock = throttled(upload_bytes_per_s=1000)
    for _ in range(11):
        storage.put(NAME, bytes(500))
    assert clock.now == pytest.approx(5.0)


@pytest.mark.parametrize("length", [None, 500, 5000])
def test_what_is_got_goes_at_the_bandwidth_whatever_was_asked_for(length: int | None) -> None:
    storage, kept, clock = throttled(download_bytes_per_s=1000)
    kept.put(NAME, bytes(500))
    for _ in range(11):
        storage.get(NAME, length=length)
    assert clock.now == pytest.approx(5.0)


def test_up_and_down_do_not_wait_for_one_another() -> None:
    storage, _, clock = throttled(upload_bytes_per_s=1, download_bytes_per_s=1000)
    storage.put(NAME, bytes(500))
    storage.get(NAME)
    assert clock.now == 0


def test_after_an_idle_time_nothing_was_saved_up() -> None:
    storage, _, clock = throttled(upload_bytes_per_s=1000)
    storage.put(NAME, bytes(1000))
    clock.now = 100.0
    for _ in range(3):
        storage.put(NAME, bytes(1000))
    assert clock.now == pytest.approx(102.0)


def test_without_limits_nobody_waits() -> None:
    storage, _, clock = throttled()
    for _ in range(100):
        storage.put(NAME, bytes(5000))
        storage.get(NAME)
    assert clock.pauses == []


def test_no_more_calls_than_connections_are_made_at_one_time() -> None:
    class Counting(MemoryStorage):
        busy = most = 0
        lock = threading.Lock()
        all_there = threading.Barrier(3)

        def get(self, name: ObjectName, *, offset: int = 0, length: int | None = None) -> bytes:
            with self.lock:
                self.busy += 1
                self.most = max(self.most, self.busy)
            self.all_there.wait(30)
            with self.lock:
                self.busy -= 1
            return b""

    counting = Counting()
    storage = ThrottledStorage(counting, Limits(connections=3))
    with ThreadPoolExecutor(9) as pool:
        list(pool.map(lambda _: storage.get(NAME), range(9)))
    assert counting.most == 3


def test_a_listing_that_nobody_ends_holds_no_connection() -> None:
    storage, kept, _ = throttled(connections=1)
    for number in range(3):
        kept.put(object_name(f"packs/{number}"), b"x")
    for found in storage.list():
        assert storage.get(found.name) == b"x"


def test_who_only_reads_changes_nothing() -> None:
    kept = MemoryStorage()
    kept.put(NAME, b"kept")
    storage = ReadOnlyStorage(kept)
    storage.prepare()
    for asked in (
        lambda: storage.put(NAME, b"new"),
        lambda: storage.put(object_name("other"), b"new", exclusive=True),
        lambda: storage.delete(NAME),
        storage.remove_unfinished,
    ):
        with pytest.raises(StorageDeniedError, match="reading only"):
            asked()
    assert storage.get(NAME, offset=1, length=2) == b"ep"
    assert storage.stat(NAME).size_bytes == 4
    assert [found.name for found in storage.list()] == [NAME]
