"""The directories of a server: built beside, exchanged, kept, and let go."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quiesce.errors import DamagedArtifactError, MountInsideError
from quiesce.provider_kit import server_places
from quiesce.provider_kit.server_places import ServerPlace

Unpack = Callable[[dict[str, bytes]], None]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_text("present")
    return data


@pytest.fixture
def unpack(data: Path, monkeypatch: pytest.MonkeyPatch) -> Unpack:
    def do(files: dict[str, bytes]) -> None:
        body = io.BytesIO()
        with tarfile.open(fileobj=body, mode="w") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o640
                archive.addfile(entry, io.BytesIO(content))
        body.seek(0)
        monkeypatch.setattr(server_places.sys, "stdin", io.TextIOWrapper(body))
        server_places.unpack({"place": str(data), "holds_name": False})

    return do


def restore(data: Path, unpack: Unpack, content: bytes = b"restored", execution: str = "e1") -> None:
    request = {"places": [str(data)], "execution": execution, "point": "p1"}
    server_places.begin(request)
    unpack({"file": content})
    server_places.settle_on_disk(request)
    server_places.replace(request)


def test_what_is_replaced_is_kept_and_put_back(data: Path, unpack: Unpack) -> None:
    restore(data, unpack)
    assert (data / "file").read_text() == "restored"
    for wanted, content in (("former", "present"), ("restored", "restored")):
        for _ in range(2):
            server_places.revert({"places": [str(data)], "wanted": wanted})
            assert (data / "file").read_text() == content


def test_a_restore_that_did_not_succeed_is_not_what_is_kept(data: Path, unpack: Unpack) -> None:
    restore(data, unpack)
    restore(data, unpack, b"again", "e2")
    server_places.revert({"places": [str(data)], "wanted": "former"})
    assert (data / "file").read_text() == "present"


def test_what_is_kept_goes_when_its_time_is_over_and_not_before(
    data: Path, unpack: Unpack, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore(data, unpack)
    server_places.confirm({"places": [str(data)], "execution": "e1", "keep_s": 60.0})
    server_places.let_go_of_expired({"places": [str(data)]})
    assert (ServerPlace(str(data)).former / "file").read_text() == "present"
    later = time.time() + 61.0
    monkeypatch.setattr(server_places.time, "time", lambda: later)
    server_places.let_go_of_expired({"places": [str(data)]})
    assert not ServerPlace(str(data)).room.exists()
    assert (data / "file").read_text() == "restored"


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_nothing_is_unpacked_outside(data: Path, unpack: Unpack, name: str) -> None:
    server_places.begin({"places": [str(data)]})
    with pytest.raises(DamagedArtifactError):
        unpack({name: b"theirs"})
    assert sorted(path.name for path in data.parent.iterdir()) == [".quiesce-data", "data"]


def test_a_mount_point_is_refused_before_anything_is_made(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == data)
    with pytest.raises(MountInsideError):
        ServerPlace(str(data)).begin()
    assert not ServerPlace(str(data)).room.exists()
