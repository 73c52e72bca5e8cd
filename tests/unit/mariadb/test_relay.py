"""What stands between mariadb-backup and its server, with a server that answers what it is told."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.providers.mariadb.relay import Relay

PATIENCE_S = 20.0


class Server:
    """Sends back each byte, and knows what it was told."""

    def __init__(self) -> None:
        self.told = b""
        self.ended = threading.Event()

    def connect(self) -> socket.socket:
        """Return a connection to it."""
        ours, theirs = socket.socketpair()
        threading.Thread(target=self._answer, args=(theirs,), daemon=True).start()
        return ours

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                self.told += data
                connection.sendall(data)
        self.ended.set()


def connect(client: socket.socket, relay: Relay) -> None:
    """Connect to the relay, however long its directory's name is."""
    directory = os.open(relay.path.parent, os.O_PATH)
    try:
        client.connect(f"/proc/self/fd/{directory}/{relay.path.name}")
    finally:
        os.close(directory)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def relay(server: Server, tmp_path: Path) -> Iterator[Relay]:
    with contextlib.closing(Relay(tmp_path / ("long" * 40), server.connect)) as relay:
        yield relay


@pytest.fixture
def client(relay: Relay) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        connect(client, relay)
        yield client


def packet(text: bytes) -> bytes:
    return len(text).to_bytes(3, "little") + b"\0" + text


def answered(client: socket.socket, text: bytes) -> bytes:
    """Return what comes back of *text*."""
    client.sendall(packet(text))
    return received(client, len(text) + 4)[4:]


def received(client: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (data := client.recv(1 << 16)):
        found += data
    return found


def test_everything_is_passed_on_however_large(client: socket.socket, relay: Relay) -> None:
    for text in (b"\x03SELECT 1", b"", b"\x03" + b"x" * 500_000, b"\x03BACKUP STAGE START"):
        assert answered(client, text) == text
    assert not relay.keeps_back


@pytest.mark.parametrize("stage", [b"FLUSH", b"BLOCK_COMMIT", b"END"])
def test_the_second_stage_is_kept_back_until_it_is_let_through(
    client: socket.socket, relay: Relay, server: Server, stage: bytes
) -> None:
    text = b"\x03BACKUP STAGE " + stage
    assert answered(client, b"\x03BACKUP STAGE START")
    client.sendall(packet(text))
    with socket.socket(socket.AF_UNIX) as other:  # its other sessions go on
        other.settimeout(PATIENCE_S)
        connect(other, relay)
        assert answered(other, b"\x03SHOW STATUS") == b"\x03SHOW STATUS"
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)
    assert relay.keeps_back
    assert text not in server.told
    client.settimeout(PATIENCE_S)
    relay.let_through()
    assert received(client, len(text) + 4) == packet(text)
    assert answered(client, b"\x03BACKUP STAGE END") == b"\x03BACKUP STAGE END"


def test_what_is_kept_back_is_never_said_once_it_is_closed(
    client: socket.socket, relay: Relay, server: Server
) -> None:
    client.sendall(packet(b"\x03BACKUP STAGE FLUSH"))
    ends = time.monotonic() + PATIENCE_S
    while not relay.keeps_back:
        assert time.monotonic() < ends
        time.sleep(0.01)
    relay.close()
    assert client.recv(1) == b""
    assert server.ended.wait(PATIENCE_S)
    assert server.told == b""


def test_a_server_that_is_gone_ends_the_session(client: socket.socket, relay: Relay, server: Server) -> None:
    assert answered(client, b"\x03SELECT 1")
    relay.close()
    assert client.recv(1) == b""


def test_a_server_that_cannot_be_reached_leaves_others_be(tmp_path: Path) -> None:
    def refuse() -> socket.socket:
        raise ConnectionRefusedError

    with contextlib.closing(Relay(tmp_path / "here", refuse)) as relay:
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE_S)
                connect(client, relay)
                assert client.recv(1) == b""
    assert not list((tmp_path / "here").iterdir())


def test_what_a_killed_process_has_left_is_replaced(server: Server, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "relay"))
    relay = Relay(tmp_path, server.connect)
    with contextlib.closing(relay), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        connect(client, relay)
        assert answered(client, b"\x03SELECT 1")
