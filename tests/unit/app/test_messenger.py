"""Whoever is told or called answers in time, or is told again: nothing due waits for them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from quiesce import messenger
from quiesce.errors import RecoverableError
from quiesce.messenger import WebMessenger

# who is not waited for any more closes nothing, and is seen in whichever test comes next
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


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
def test_a_slow_answer_is_not_waited_for(dripping: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait was bounded, and all of them together were not: no backup was made any more."""
    monkeypatch.setattr(messenger, "_TOGETHER_S", 0.5)
    with pytest.raises(RecoverableError, match="TimeoutError"):
        WebMessenger().ping(dripping)


@contextlib.contextmanager
def served(answer: Callable[[BaseHTTPRequestHandler], None], host: str = "127.0.0.1") -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{host}:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def redirecting(target: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()

    return answer


def accepting(called: list[str]) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        called.append(handler.path)
        handler.send_response(200)
        handler.end_headers()

    return answer


def test_who_is_sent_to_another_host_has_reached_nobody() -> None:
    """A page to log in at, somewhere on the way, is not the alarm that was to be called."""
    called: list[str] = []
    with (
        served(accepting(called), "localhost") as elsewhere,
        served(redirecting(elsewhere)) as pulse,
        pytest.raises(RecoverableError, match="not reached"),
    ):
        WebMessenger().ping(pulse)
    assert called == []


def test_the_same_host_may_send_on_to_another_address_of_its_own() -> None:
    called: list[str] = []
    with served(accepting(called)) as there, served(redirecting(f"{there}pulse")) as pulse:
        WebMessenger().ping(pulse)
    assert called == ["/pulse"]


def refusing(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(500)


def open_sockets() -> int:
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(link.readlink()).startswith("socket:")
    return found


@pytest.mark.parametrize("answer", [refusing, redirecting("http://elsewhere.invalid/")], ids=["500", "302"])
def test_a_refused_answer_is_closed_at_once(answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
    """It was closed when the collector came by, and complained in the middle of something else."""
    before = open_sockets()
    with served(answer) as pulse, pytest.raises(RecoverableError) as refused:
        WebMessenger().ping(pulse)
    ends = time.monotonic() + 10
    while open_sockets() > before and time.monotonic() < ends:
        time.sleep(0.02)  # the server closes its own side by and by
    assert open_sockets() <= before, refused  # which holds the answer until here
