"""Whoever is told or called answers in time, or is told again: nothing due waits for them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from quiesce import messenger
from quiesce.errors import RecoverableError
from quiesce.messenger import WebMessenger


@pytest.fixture
def dripping() -> Iterator[str]:
    """The address of a server whose answer begins, and goes on a byte at a time for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def answer() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not over.wait(0.05):
                connection.sendall(b"a")

    thread = threading.Thread(target=answer)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    over.set()
    listener.close()
    thread.join()


@pytest.mark.timeout(30)
# what is left behind closes nothing
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_slow_answer_is_not_waited_for(dripping: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait was bounded, and all of them together were not: no backup was made any more."""
    monkeypatch.setattr(messenger, "_TOGETHER_S", 0.5)
    with pytest.raises(RecoverableError, match="TimeoutError"):
        WebMessenger().ping(dripping)
