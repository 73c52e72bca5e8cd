"""The contract of `quiesce.ports.Storage`, as tests.

Subclass `StorageContract` in a test module and override the fixture ``place``. What a `Place` says that it
cannot show (`NotImplementedError`) skips the tests that need it, by name.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Final, TypeVar

import pytest

from quiesce.errors import ObjectExistsError, ObjectNotFoundError
from quiesce.model.stored_object import ObjectName, object_name
from quiesce.ports.storage import Storage

T = TypeVar("T")

A: Final = object_name("packs/ab/abcd")
B: Final = object_name("packs/ab/abce")
C: Final = object_name("config")
_PACK_BYTES: Final = 16 * 1024 * 1024


class Place:
    """One storage under test, with eyes and hands of its own beside the adapter's."""

    def storage(self) -> Storage:
        """Return the storage as a new process would open it."""
        raise NotImplementedError

    def plant(self, path: str, data: bytes) -> None:
        """Put *data* there at *path*, which need not be a name of ours, behind the adapter's back."""
        raise NotImplementedError

    def contents(self) -> dict[str, bytes]:
        """Return everything that is there, unfinished and foreign things too, seen from outside."""
        raise NotImplementedError

    def leave_unfinished(self, name: ObjectName) -> None:
        """Leave what a put of *name* leaves that was killed half-way, long ago."""
        raise NotImplementedError


class StorageContract:
    """What every storage must do. See the module's docstring for how to use it."""

    #: how many of a kind the suite puts at once
    crowd = 8

    @pytest.fixture
    def place(self) -> Iterator[Place] | Place:
        """Return an empty storage's place; to be overridden."""
        raise NotImplementedError("override the fixture 'place'")

    @pytest.fixture
    def storage(self, place: Place) -> Iterator[Storage]:
        """Return it opened."""
        with closing(place.storage()) as storage:
            storage.prepare()
            yield storage

    # -- put and get ------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [0, 1, 4096, 70_001, _PACK_BYTES + 1])
    def test_what_was_put_is_what_another_process_gets(
        self, place: Place, storage: Storage, size: int
    ) -> None:
        data = os.urandom(size)
        storage.put(A, data)
        with closing(place.storage()) as other:
            assert other.get(A) == data

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_buffer_can_be_put(self, storage: Storage, kind: Callable[[bytes], bytes]) -> None:
        storage.put(A, kind(b"buffer"))
        assert storage.get(A) == b"buffer"

    def test_bytes_come_back_as_bytes(self, storage: Storage) -> None:
        storage.put(A, b"plain")
        assert type(storage.get(A)) is bytes
        assert type(storage.get(A, offset=1, length=2)) is bytes

    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [
            (0, None, b"0123456789"),
            (0, 0, b""),
            (0, 3, b"012"),
            (3, 4, b"3456"),
            (7, None, b"789"),
            (9, 1, b"9"),
            (7, 100, b"789"),
            (10, None, b""),
            (10, 1, b""),
            (50, 5, b""),
        ],
    )
    def test_a_part_is_what_reading_a_file_would_give(
        self, storage: Storage, offset: int, length: int | None, expected: bytes
    ) -> None:
        storage.put(A, b"0123456789")
        assert storage.get(A, offset=offset, length=length) == expected

    def test_a_part_of_an_empty_object_is_empty(self, storage: Storage) -> None:
        storage.put(A, b"")
        assert storage.get(A) == b""
        assert storage.get(A, offset=0, length=5) == b""

    def test_what_is_not_there_is_not_found(self, storage: Storage) -> None:
        storage.put(B, b"another")
        for asked in (
            lambda: storage.get(A),
            lambda: storage.get(A, offset=1, length=2),
            lambda: storage.get(A, offset=0, length=0),
            lambda: storage.stat(A),
        ):
            with pytest.raises(ObjectNotFoundError, match="abcd"):
                asked()

    def test_a_folder_is_no_object(self, storage: Storage) -> None:
        storage.put(A, b"inside")
        folder = object_name("packs/ab")
        with pytest.raises(ObjectNotFoundError):
            storage.get(folder)
        with pytest.raises(ObjectNotFoundError):
            storage.stat(folder)
        storage.delete(folder)
        assert storage.get(A) == b"inside"

    def test_what_lies_below_an_object_is_not_found(self, storage: Storage) -> None:
        storage.put(C, b"object")
        below = object_name("config/deeper")
        with pytest.raises(ObjectNotFoundError):
            storage.get(below)
        with pytest.raises(ObjectNotFoundError):
            storage.stat(below)
        storage.delete(below)
        assert storage.get(C) == b"object"

    @pytest.mark.parametrize(
        "name", ["", "/a", "a//b", "../a", "a/..", ".a", "a/.b", "a b", "ä", "a\n", "a\0"]
    )
    def test_what_is_no_name_is_a_bug_of_the_caller(self, storage: Storage, name: str) -> None:
        for asked in (
            lambda: storage.put(ObjectName(name), b""),
            lambda: storage.get(ObjectName(name)),
            lambda: storage.stat(ObjectName(name)),
            lambda: storage.delete(ObjectName(name)),
        ):
            with pytest.raises(ValueError, match="object's name"):
                asked()

    # -- replacing --------------------------------------------------------------------------------------

    def test_a_put_replaces_what_was_there(self, place: Place, storage: Storage) -> None:
        storage.put(A, b"a long first one")
        storage.put(A, b"second")
        with closing(place.storage()) as other:
            assert other.get(A) == b"second"
            assert other.stat(A).size_bytes == 6

    def test_an_exclusive_put_touches_nothing_that_is_there(self, storage: Storage) -> None:
        storage.put(A, b"first", exclusive=True)
        with pytest.raises(ObjectExistsError, match="abcd"):
            storage.put(A, b"second", exclusive=True)
        assert storage.get(A) == b"first"

    def test_an_exclusive_put_succeeds_again_once_the_object_is_deleted(self, storage: Storage) -> None:
        storage.put(A, b"first", exclusive=True)
        storage.delete(A)
        storage.put(A, b"second", exclusive=True)
        assert storage.get(A) == b"second"

    def test_of_many_exclusive_puts_one_succeeds(self, place: Place, storage: Storage) -> None:
        for attempt in range(5):
            name = object_name(f"points/one{attempt}")
            won = self._all_at_once(place, functools.partial(_won, name))
            assert sum(won) == 1, "exactly one must succeed"
            assert storage.get(name) == b"%d" % won.index(True) * 1000

    def test_readers_never_see_a_part_while_it_is_replaced(self, place: Place, storage: Storage) -> None:
        versions = [bytes([number]) * 300_000 for number in range(6)]
        storage.put(A, versions[0])
        ended = threading.Event()
        with ThreadPoolExecutor(2) as readers:
            watching = [readers.submit(_versions_seen, place, ended) for _ in range(2)]
            try:
                for version in versions:
                    storage.put(A, version)
            finally:
                ended.set()
            for watched in watching:
                assert watched.result() <= {_digest(version) for version in versions}

    def test_many_writers_of_one_name_leave_one_of_theirs(self, place: Place, storage: Storage) -> None:
        self._all_at_once(place, lambda other, number: other.put(A, bytes([number]) * 100_000))
        data = storage.get(A)
        assert data in [bytes([number]) * 100_000 for number in range(self.crowd)]
        assert [found.name for found in storage.list()] == [A]

    def test_many_threads_share_one_storage(self, storage: Storage) -> None:
        def use(number: int) -> bool:
            name = object_name(f"packs/{number:02}")
            storage.put(name, b"%d" % number * 50_000)
            ok = storage.get(name) == b"%d" % number * 50_000
            if number % 2:
                storage.delete(name)
            return ok

        with ThreadPoolExecutor(self.crowd) as pool:
            assert all(pool.map(use, range(4 * self.crowd)))
        assert len(list(storage.list("packs"))) == 2 * self.crowd

    # -- listing ----------------------------------------------------------------------------------------

    def test_an_empty_storage_lists_nothing(self, storage: Storage) -> None:
        assert list(storage.list()) == []
        assert list(storage.list("packs")) == []

    def test_every_object_is_listed_once_with_its_size(self, place: Place, storage: Storage) -> None:
        sizes = {object_name(f"packs/{number % 7}/{number:04}"): number for number in range(60)}
        for name, size in sizes.items():
            storage.put(name, b"x" * size)
        with closing(place.storage()) as other:
            found = list(other.list())
        assert len(found) == len(sizes)
        assert {one.name: one.size_bytes for one in found} == sizes

    def test_a_folder_lists_what_is_below_it_and_nothing_beside(self, storage: Storage) -> None:
        for name in ("packs/a", "packs/b/c", "packs-old/a", "pack", "packs.b", "index/packs/a"):
            storage.put(object_name(name), b"")
        assert _names(storage, "packs") == ["packs/a", "packs/b/c"]
        assert _names(storage, "packs/b") == ["packs/b/c"]
        assert _names(storage, "packs/a") == []
        assert _names(storage, "pac") == []
        assert len(_names(storage, "")) == 6

    def test_what_is_put_or_deleted_is_listed_so_at_once(self, place: Place, storage: Storage) -> None:
        with closing(place.storage()) as other:
            storage.put(A, b"1")
            assert _names(other) == [A]
            storage.put(B, b"2")
            assert _names(other) == [A, B]
            storage.delete(A)
            assert _names(other) == [B]

    def test_listing_survives_deletion_meanwhile(self, storage: Storage) -> None:
        for number in range(40):
            storage.put(object_name(f"packs/{number:03}"), b"x")
        seen = []
        for found in storage.list("packs"):
            seen.append(found.name)
            storage.delete(found.name)
        assert len(seen) == len(set(seen)) == 40
        assert _names(storage) == []

    def test_what_is_not_ours_is_not_listed(self, place: Place, storage: Storage) -> None:
        storage.put(A, b"ours")
        for path in ("packs/.nfs0001", "lost and found/x", "packs/ab/.abcd.quiesce-new", "ä"):
            _or_skip(functools.partial(place.plant, path, b"theirs"))
        assert _names(storage) == [A]
        assert _names(storage, "packs") == [A]

    def test_what_was_planted_under_our_name_is_found(self, place: Place, storage: Storage) -> None:
        _or_skip(lambda: place.plant(A, b"planted"))
        assert storage.get(A) == b"planted"
        assert _names(storage) == [A]

    # -- stat and delete --------------------------------------------------------------------------------

    def test_stat_and_list_say_the_same(self, storage: Storage) -> None:
        storage.put(A, b"twelve bytes")
        described = storage.stat(A)
        assert described.size_bytes == 12
        assert described.name == A
        [listed] = storage.list()
        assert (listed.name, listed.size_bytes) == (A, 12)
        assert abs(listed.modified - described.modified) <= 1

    def test_the_time_is_that_of_the_last_put(self, storage: Storage) -> None:
        storage.put(A, b"1")
        first = storage.stat(A).modified
        assert abs(first - time.time()) < 3600, "seconds since the epoch"
        time.sleep(1.1)
        storage.put(A, b"2")
        assert storage.stat(A).modified > first

    def test_what_is_deleted_is_gone_and_may_be_deleted_again(self, place: Place, storage: Storage) -> None:
        storage.put(A, b"1")
        storage.put(B, b"2")
        for _ in range(2):
            storage.delete(A)
            with pytest.raises(ObjectNotFoundError):
                storage.get(A)
        with closing(place.storage()) as other:
            assert other.get(B) == b"2"
            with pytest.raises(ObjectNotFoundError):
                other.stat(A)

    def test_what_was_deleted_may_be_put_again(self, storage: Storage) -> None:
        for content in (b"1", b"2", b"3"):
            storage.put(A, content)
            assert storage.get(A) == content
            storage.delete(A)

    # -- what is left behind ----------------------------------------------------------------------------

    def test_nothing_lies_there_but_the_objects(self, place: Place, storage: Storage) -> None:
        storage.put(A, b"1")
        storage.put(A, b"2")
        storage.put(B, b"3", exclusive=True)
        with suppress(ObjectExistsError):
            storage.put(B, b"4", exclusive=True)
        assert _or_skip(place.contents) == {A: b"2", B: b"3"}

    def test_what_a_killed_put_left_is_removed_and_nothing_else(self, place: Place, storage: Storage) -> None:
        storage.put(A, b"whole")
        _or_skip(lambda: place.plant("theirs/.kept", b"theirs"))
        before = _or_skip(place.contents)
        _or_skip(lambda: place.leave_unfinished(B))
        assert place.contents() != before
        assert _names(storage) == [A]
        storage.remove_unfinished()
        assert place.contents() == before

    def test_what_a_killed_put_left_is_in_nobodys_way(self, place: Place, storage: Storage) -> None:
        _or_skip(lambda: place.leave_unfinished(B))
        storage.put(B, b"whole", exclusive=True)
        assert storage.get(B) == b"whole"
        storage.remove_unfinished()
        assert storage.get(B) == b"whole"

    def test_preparing_twice_keeps_everything(self, storage: Storage) -> None:
        storage.put(A, b"kept")
        storage.prepare()
        assert storage.get(A) == b"kept"

    def test_a_storage_has_a_location_to_show(self, storage: Storage) -> None:
        assert storage.location

    def _all_at_once(self, place: Place, action: Callable[[Storage, int], T]) -> list[T]:
        """Let *action* be done by as many storages at one time, each opened by itself."""
        together = threading.Barrier(self.crowd)

        def act(number: int) -> T:
            with closing(place.storage()) as storage:
                together.wait(60)
                return action(storage, number)

        with ThreadPoolExecutor(self.crowd) as pool:
            return list(pool.map(act, range(self.crowd)))


def _won(name: ObjectName, storage: Storage, number: int) -> bool:
    try:
        storage.put(name, b"%d" % number * 1000, exclusive=True)
    except ObjectExistsError:
        return False
    return True


def _versions_seen(place: Place, ended: threading.Event) -> set[str]:
    seen = set()
    with closing(place.storage()) as storage:
        while not ended.is_set():
            seen.add(_digest(storage.get(A)))
    return seen


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _names(storage: Storage, folder: str = "") -> list[ObjectName]:
    return sorted(found.name for found in storage.list(folder))


def _or_skip(action: Callable[[], T]) -> T:
    try:
        return action()
    except NotImplementedError:
        pytest.skip("this storage has nothing like it")
