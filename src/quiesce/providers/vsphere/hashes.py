"""A stream that is stored and checksummed while somebody reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from quiesce.providers.vsphere.vmdk import Sink


class Sha1Tee:
    """Passes pieces on, writes each to a sink, and hashes them as vSphere's own manifests do."""

    def __init__(self) -> None:
        # not for security: it is what the platform compares with
        self._hash = hashlib.sha1(usedforsecurity=False)
        self._pieces: Iterator[bytes] = iter(())

    def through(self, pieces: Iterable[bytes], sink: Sink) -> Iterator[bytes]:
        """Return *pieces*; each is in *sink* before the next is asked for."""
        self._pieces = self._pass_on(pieces, sink)
        return self._pieces

    def drain(self) -> None:
        """Store what nobody has read."""
        for _ in self._pieces:
            continue

    def hexdigest(self) -> str:
        """Return the checksum of everything that has passed."""
        return self._hash.hexdigest()

    def _pass_on(self, pieces: Iterable[bytes], sink: Sink) -> Iterator[bytes]:
        for piece in pieces:
            self._hash.update(piece)
            sink.write(piece)
            yield piece
