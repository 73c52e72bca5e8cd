"""Keeps the first and the last part of what a child says, so that it cannot fill the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from quiesce.model.records import Level

#: how much is passed on at once, and how much of the end is kept beyond that, in characters
FIRST_CHARS: Final = 256 * 1024
LAST_CHARS: Final = 64 * 1024
#: what storing a line costs besides its text
_LINE_CHARS: Final = 64


class BoundedLog:
    """Passes lines on until there are too many; of the others the last ones, when it ends."""

    def __init__(self, use: Callable[[Level, str], None]) -> None:
        self._use = use
        self._room = FIRST_CHARS
        self._last: deque[tuple[Level, str]] = deque()
        self._last_chars = 0
        self._left_out_bytes = 0

    def add(self, level: Level, line: str) -> None:
        """Pass *line* on, or keep it for the end."""
        cost = len(line) + _LINE_CHARS
        if self._room > 0 and not self._last:
            self._room -= cost
            self._use(level, line)
            return
        self._last.append((level, line))
        self._last_chars += cost
        while self._last_chars > LAST_CHARS and len(self._last) > 1:
            _, dropped = self._last.popleft()
            self._last_chars -= len(dropped) + _LINE_CHARS
            self._left_out_bytes += len(dropped.encode(errors="surrogateescape"))

    def end(self) -> None:
        """Pass on what was kept, after a line that says how many bytes were not."""
        if self._left_out_bytes:
            self._use(Level.WARNING, f"... {self._left_out_bytes} bytes of output left out ...")
        for level, line in self._last:
            self._use(level, line)
        self._last.clear()
