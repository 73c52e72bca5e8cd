"""Items of backups as files that are written and read from the beginning to the end."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from quiesce.repository import PointReader, StreamDraft

#: told how many more bytes were moved; may raise to stop
Progress: TypeAlias = Callable[[int], None]


def nobody(_moved_bytes: int) -> None:
    """Tell nobody."""


class ItemWriter(io.RawIOBase):
    """A stream of a draft; closing makes it durable.

    Leaving its ``with`` block by an exception gives the stream up.
    """

    def __init__(self, stream: StreamDraft, done: Callable[[StreamDraft], None], progress: Progress) -> None:
        self._stream = stream
        self._done = done
        self._progress = progress
        self._given_up = False

    def writable(self) -> bool:
        """Say yes: this is what makes it usable where a binary file is asked for."""
        return True

    def write(self, data: object) -> int:
        """Store *data*; return its length."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        self._stream.write(view)
        self._progress(len(view))
        return len(view)

    def close(self) -> None:
        """Make the stream durable, and enter it into the draft."""
        if self.closed:
            return
        try:
            if not self._given_up:
                self._done(self._stream)
        finally:
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._given_up = kind is not None
        self.close()


class ItemReader(io.RawIOBase):
    """What a stream or disk holds. Every byte is authentic; `check` reads what was not read yet."""

    def __init__(
        self, reader: PointReader, name: str, progress: Progress, let_go: Callable[[], None]
    ) -> None:
        self._pieces: Iterator[bytes] = reader.read(name)
        self._progress = progress
        self._let_go = let_go
        self._ready = bytearray()

    def readable(self) -> bool:
        """Say yes: this is what makes it usable where a binary file is asked for."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to *size* bytes, fewer only at the end.

        Raises:
            DamagedArtifactError: when they are not what was written.
        """
        while (size < 0 or len(self._ready) < size) and (piece := next(self._pieces, None)) is not None:
            self._progress(len(piece))
            self._ready += piece
        taken = bytes(self._ready) if size < 0 else bytes(self._ready[:size])
        del self._ready[: len(taken)]
        return taken

    def readinto(self, buffer: object) -> int:
        """Fill *buffer*; return how much was filled."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def check(self) -> None:
        """Return when all that is left was read, too.

        Raises:
            DamagedArtifactError: when any of it is not what was written.
        """
        self._ready.clear()
        for piece in self._pieces:
            self._progress(len(piece))

    def close(self) -> None:
        """Let go of the repository."""
        if not self.closed:
            self._pieces.close()  # type: ignore[attr-defined]
            self._let_go()
        super().close()
