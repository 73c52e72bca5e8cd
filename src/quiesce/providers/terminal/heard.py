"""What a device has said since a line was typed: of very much the first and the last part."""

from __future__ import annotations

from typing import Final

KEPT_CHARS: Final = 256 * 1024


class Heard:
    """Text that grows; in the middle it is left out when there is too much of it, and counted."""

    def __init__(self) -> None:
        self._first = ""
        self._left_out = 0
        #: the end of it, in which prompts and questions are looked for
        self.last = ""
        self._answered = 0

    def add(self, text: str) -> None:
        """Append *text*."""
        self.last += text
        too_much = len(self.last) - 2 * KEPT_CHARS
        if too_much <= 0:
            return
        if not self._first:
            self._first, too_much = self.last[:KEPT_CHARS], len(self.last) - 2 * KEPT_CHARS
            self._drop(KEPT_CHARS)
        self._left_out += too_much
        self._drop(too_much)

    def asked(self, question: str) -> bool:
        """Tell whether *question* was asked since the last one that was found."""
        place = self.last.find(question, self._answered)
        if place < 0:
            return False
        self._answered = place + len(question)
        return True

    def before(self, end: int) -> str:
        """Return all of it up to the place *end* of `last`."""
        if not self._first:
            return self.last[:end]
        left_out = f"\n... {self._left_out} characters left out ...\n" if self._left_out else ""
        return self._first + left_out + self.last[:end]

    def _drop(self, count: int) -> None:
        self.last = self.last[count:]
        self._answered = max(0, self._answered - count)
