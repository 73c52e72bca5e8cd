"""One list request for everybody who wants the same list at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from quiesce.providers.gcp.patience import Patience

T = TypeVar("T")

#: at least so long between the beginnings of two requests of one group, in seconds
SPACING_S: Final = 0.1
#: looking takes at most one part in so many of the time
_SHARE: Final = 3.0
_LOOK_UP_S: Final = 0.5


class Watch(Generic[T]):
    """Shares listings between threads.

    Whoever asks gets a listing that began after the question, together with all who ask meanwhile.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._groups: dict[tuple[str, ...], _Group[T]] = {}

    def look(self, group: tuple[str, ...], fetch: Callable[[], T], patience: Patience) -> T:
        """Return a listing of *group* that began after this call; another caller's *fetch* may have made it.

        Raises:
            ProviderError: what *fetch* raised, to the one whose turn it was; the others go on.
        """
        with self._changed:
            state = self._groups.setdefault(group, _Group())
            wanted = state.begun + 1
        while True:
            patience.request_s()
            with self._changed:
                if state.listing is not None and state.done >= wanted:
                    return state.listing
                if state.busy:
                    self._changed.wait(_LOOK_UP_S)
                    continue
                state.busy = True
            self._fetch(state, fetch, patience)

    def _fetch(self, state: _Group[T], fetch: Callable[[], T], patience: Patience) -> None:
        try:
            patience.pause(state.not_before - self._clock())
            with self._changed:
                state.begun += 1
                turn, began_at = state.begun, self._clock()
            listing = fetch()
            took_s = self._clock() - began_at
            with self._changed:
                state.listing, state.done = listing, turn
                state.not_before = began_at + max(SPACING_S, _SHARE * took_s)
        finally:
            with self._changed:
                state.busy = False
                self._changed.notify_all()


class _Group(Generic[T]):
    """What is known of one group; guarded by the watch's condition."""

    def __init__(self) -> None:
        self.begun = 0
        self.done = 0
        self.busy = False
        self.not_before = float("-inf")
        self.listing: T | None = None
