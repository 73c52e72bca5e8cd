"""Waits that end: for what has no bound of its own, such as an answer that comes a byte at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")


def within(seconds: float, work: Callable[[], _T]) -> _T:
    """Return what *work* returns, or raise what it raises; it runs in a thread of its own.

    Raises:
        TimeoutError: when it is not done in time; its thread is left behind, and ends with the process.
    """
    done: Future[_T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  who waits raises it
            done.set_exception(error)

    threading.Thread(target=run, name="not waited for longer", daemon=True).start()
    return done.result(seconds)
