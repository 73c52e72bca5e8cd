"""Networks that cut, lose and delay, and servers that are busy: nothing is lost, doubled or half there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from quiesce.errors import (
    ObjectExistsError,
    StorageDeniedError,
    StorageUnavailableError,
    UnreachableError,
)
from quiesce.model.stored_object import object_name
from quiesce.ports import Storage
from quiesce.storage import Patience, open_storage

pytest.importorskip("obstore", reason="obstore is not installed: make test-storage")

from ..labs.storage.proxy import Fault, Proxy, proxied  # noqa: TID252
from ..labs.storage.servers import S3, BucketPlace, SftpPlace, moto  # noqa: TID252
from ..sshd_on_loopback import Server, needs_sshd, sshd  # noqa: TID252

NAME = object_name("packs/ab/abcd")
PACK = os.urandom(3 << 20)
#: as many tries as it takes, at once; but not without end
QUICK = Patience(first_pause_s=0.01, longest_pause_s=0.2, give_up_after_s=60)
ONCE = Patience(first_pause_s=0.01, give_up_after_s=0)


class FarPlace(Protocol):
    def storage(self) -> Storage: ...

    def through(self, port: int, patience: Patience) -> Storage: ...


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with moto(tmp_path_factory.mktemp("moto")) as s3:
        yield s3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd"), "Subsystem sftp internal-sftp") as server:
        yield server


@pytest.fixture(params=["s3", pytest.param("sftp", marks=needs_sshd)])
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[FarPlace, Proxy]]:
    """A storage, and the proxy on the way to it."""
    if request.param == "s3":
        s3: S3 = request.getfixturevalue("s3")
        with proxied(s3.server.port) as proxy:
            yield BucketPlace(s3, s3.make_bucket()), proxy
        return
    server: Server = request.getfixturevalue("server")
    (tmp_path / "repository").mkdir()
    with proxied(server.port) as proxy:
        yield SftpPlace(server, tmp_path / "repository"), proxy


FAULTS = [
    pytest.param(Fault.REFUSE, 0, id="refused"),
    pytest.param(Fault.CUT_UP, 10_000, id="cut-early-up"),
    pytest.param(Fault.CUT_UP, 2_000_000, id="cut-late-up"),
    pytest.param(Fault.CUT_DOWN, 100, id="cut-early-down"),
    pytest.param(Fault.LOSE_ANSWER, 0, id="lost-answer"),
    pytest.param(Fault.BUSY, 0, id="busy"),
]


@pytest.mark.parametrize("exclusive", [False, True], ids=["replacing", "exclusive"])
@pytest.mark.parametrize(("fault", "after_bytes"), FAULTS)
def test_a_put_ends_well_however_often_it_is_disturbed(
    far: tuple[FarPlace, Proxy], fault: Fault, after_bytes: int, exclusive: bool
) -> None:
    place, proxy = far
    _skip_what_is_not_there(place, fault)
    proxy.fail(fault, times=4, after_bytes=after_bytes)
    with closing(place.through(proxy.port, QUICK)) as storage:
        storage.put(NAME, PACK, exclusive=exclusive)
    assert proxy.happened, "the fault must have struck"
    with closing(place.storage()) as straight:
        assert straight.get(NAME) == PACK
        assert [found.name for found in straight.list()] == [NAME]


@pytest.mark.parametrize(("fault", "after_bytes"), FAULTS)
def test_a_put_that_is_given_up_leaves_the_old_or_the_new_one(
    far: tuple[FarPlace, Proxy], fault: Fault, after_bytes: int
) -> None:
    place, proxy = far
    _skip_what_is_not_there(place, fault)
    with closing(place.storage()) as straight:
        straight.put(NAME, b"old")
        proxy.fail(fault, times=1000, after_bytes=after_bytes)
        with closing(place.through(proxy.port, ONCE)) as storage, pytest.raises(StorageUnavailableError):
            storage.put(NAME, PACK)
        assert straight.get(NAME) in (b"old", PACK)
        assert [found.name for found in straight.list()] == [NAME]


@pytest.mark.parametrize(("fault", "after_bytes"), FAULTS)
def test_a_get_is_whole_however_often_it_is_disturbed(
    far: tuple[FarPlace, Proxy], fault: Fault, after_bytes: int
) -> None:
    place, proxy = far
    _skip_what_is_not_there(place, fault)
    with closing(place.storage()) as straight:
        straight.put(NAME, PACK)
    for fault_after in {after_bytes, 1_000_000 if fault is Fault.CUT_DOWN else after_bytes}:
        proxy.fail(fault, times=4, after_bytes=min(fault_after, 0 if fault is Fault.CUT_UP else 1 << 30))
        with closing(place.through(proxy.port, QUICK)) as storage:
            assert storage.get(NAME) == PACK
            assert storage.get(NAME, offset=1_000_000, length=1_500_000) == PACK[1_000_000:2_500_000]
        assert proxy.happened


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.CUT_DOWN, Fault.LOSE_ANSWER, Fault.BUSY])
def test_a_listing_and_its_deletions_are_complete(far: tuple[FarPlace, Proxy], fault: Fault) -> None:
    place, proxy = far
    _skip_what_is_not_there(place, fault)
    names = {object_name(f"packs/{number % 3}/{number:03}") for number in range(30)}
    with closing(place.storage()) as straight:
        for name in names:
            straight.put(name, b"x")
        with closing(place.through(proxy.port, QUICK)) as storage:
            proxy.fail(fault, times=3, after_bytes=2000 if fault is Fault.CUT_DOWN else 0)
            found = [one.name for one in storage.list("packs")]
            assert sorted(found) == sorted(names)
            assert proxy.happened
            proxy.fail(fault, times=3)
            for name in found[:20]:
                storage.delete(name)
        assert {one.name for one in straight.list()} == set(found[20:])


def test_what_another_one_made_is_not_taken_for_ours_when_answers_are_lost(
    far: tuple[FarPlace, Proxy],
) -> None:
    place, proxy = far
    with closing(place.storage()) as straight:
        straight.put(NAME, b"theirs")
        proxy.fail(Fault.LOSE_ANSWER, times=3)
        with closing(place.through(proxy.port, QUICK)) as storage, pytest.raises(ObjectExistsError):
            storage.put(NAME, b"ours", exclusive=True)
        assert straight.get(NAME) == b"theirs"


def test_a_slow_network_is_only_slow(far: tuple[FarPlace, Proxy]) -> None:
    place, proxy = far
    proxy.rate = 4e6
    with closing(place.through(proxy.port, ONCE)) as storage:
        storage.put(NAME, PACK)
        assert storage.get(NAME) == PACK


def test_silence_is_noticed(far: tuple[FarPlace, Proxy], monkeypatch: pytest.MonkeyPatch) -> None:
    from quiesce.storage import bucket_clients, sftp_login

    monkeypatch.setattr(bucket_clients, "_REQUEST", timedelta(seconds=1))
    monkeypatch.setattr(sftp_login, "_ANSWER_S", 1.0)
    monkeypatch.setattr(sftp_login, "_CONNECT_S", 1.0)
    place, proxy = far
    with closing(place.through(proxy.port, QUICK)) as storage:
        storage.put(NAME, b"first")
        proxy.fail(Fault.SILENCE, times=2)
        storage.put(NAME, b"second")
        assert proxy.happened
        assert storage.get(NAME) == b"second"


def test_a_server_that_is_not_there_is_unavailable(far: tuple[FarPlace, Proxy]) -> None:
    place, proxy = far
    proxy.close()
    with closing(place.through(proxy.port, ONCE)) as storage:
        for asked in _every_call(storage):
            with pytest.raises(StorageUnavailableError) as caught:
                asked()
            assert caught.value.retryable


def test_a_bucket_that_is_not_there_is_unreachable_and_never_empty(s3: S3) -> None:
    storage = s3.open("no-such-bucket", patience=ONCE)
    for asked in _every_call(storage):
        with pytest.raises(UnreachableError, match="NoSuchBucket") as caught:
            asked()
        assert not caught.value.retryable


@needs_sshd
def test_a_directory_that_is_not_there_is_unreachable_and_is_not_made(server: Server, tmp_path: Path) -> None:
    place = SftpPlace(server, tmp_path / "not" / "there")
    with closing(place.storage()) as storage:
        for asked in _every_call(storage):
            with pytest.raises(UnreachableError, match="not there") as caught:
                asked()
            assert not caught.value.retryable
    assert not (tmp_path / "not").exists()


@needs_sshd
def test_a_server_whose_key_is_not_known_gets_no_password(server: Server, tmp_path: Path) -> None:
    (tmp_path / "known_hosts").touch()
    url = f"sftp://{server.user}@127.0.0.1:{server.port}{tmp_path}?credentials=key&known_hosts={tmp_path}/known_hosts"
    with pytest.raises(StorageDeniedError, match="host key"):
        open_storage(url, lambda _: server.key_content).stat(NAME)


@needs_sshd
def test_a_user_who_is_refused_is_told_so(server: Server, tmp_path: Path) -> None:
    url = f"sftp://nobody-here@127.0.0.1:{server.port}{tmp_path}?credentials=key&known_hosts={server.known_hosts}"
    with pytest.raises(StorageDeniedError, match="nobody-here"):
        open_storage(url, lambda _: server.key_content).stat(NAME)


def _every_call(storage: Storage) -> list[Callable[[], object]]:
    return [
        lambda: storage.put(NAME, b"data"),
        lambda: storage.put(NAME, b"data", exclusive=True),
        lambda: storage.get(NAME),
        lambda: storage.get(NAME, offset=1, length=0),
        lambda: storage.stat(NAME),
        lambda: list(storage.list()),
        lambda: storage.delete(NAME),
    ]


def _skip_what_is_not_there(place: FarPlace, fault: Fault) -> None:
    if fault is Fault.BUSY and isinstance(place, SftpPlace):
        pytest.skip("SFTP has no answer that says busy")
