"""Puts blobs into packs and packs into the storage: by several threads, in bounded memory."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final

from quiesce.errors import RecoverableError
from quiesce.ports.storage import Data
from quiesce.repository.index import BlobIndex, PackId, PackListing
from quiesce.repository.opened import OpenedRepository
from quiesce.repository.packs import PACK_BYTES, PackDraft, pack_name
from quiesce.repository.sealing import BlobSealer

#: so many packs are told in one index, so that a writer that is cut off loses little
_PACKS_AN_INDEX: Final = 16
_PACKS_UNDER_WAY: Final = 2
_BATCH_BYTES: Final = 1 << 20
_MOST_IN_BATCH: Final = 512
_BATCHES_UNDER_WAY: Final = 6


@dataclass(slots=True)
class StoredFigures:
    """What was stored, and what was there already."""

    new_blobs: int = 0
    new_bytes: int = 0
    #: as it lies in the packs
    packed_bytes: int = 0
    known_blobs: int = 0
    known_bytes: int = 0


class BlobSlot:
    """Will hold the address of one blob that is on its way."""

    __slots__ = ("_batch", "_number")

    def __init__(self, batch: _Batch, number: int) -> None:
        self._batch = batch
        self._number = number

    @property
    def address(self) -> bytes:
        """What it is called; waits until that is known."""
        return self._batch.addresses()[self._number]


class _Batch:
    """Blobs that one thread looks at, one after the other."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self.plains: list[Data] = []
        self.size_bytes = 0
        self.begun = False
        self.future: Future[list[bytes]] = Future()

    def addresses(self) -> list[bytes]:
        if not self.begun:
            self._store.push()
        return self.future.result()


class BlobStore:
    """Stores blobs of one writer. What any pack holds that may be relied on is not stored again.

    One thread adds; others hash, compress, encrypt and put. `flush` makes everything durable: first the
    packs, then the index that tells of them.
    """

    def __init__(self, opened: OpenedRepository, index: BlobIndex, *, threads: int | None = None) -> None:
        self._opened = opened
        self.index = index
        self._writer = os.urandom(16)
        self._sealer = BlobSealer(opened.keys, self._writer)
        self._lock = threading.Lock()
        self._claimed: set[bytes] = set()
        self._number = 0
        self._draft = self._next_draft()
        self._untold: list[PackListing] = []
        #: packs of others, and our own, that what is written relies on
        self.relied: set[PackId] = set()
        self.figures = StoredFigures()
        self._workers = ThreadPoolExecutor(threads or os.cpu_count() or 1, "quiesce-blobs")
        self._putting = ThreadPoolExecutor(_PACKS_UNDER_WAY, "quiesce-packs")
        self._puts: set[Future[None]] = set()
        self._batch = _Batch(self)
        self._under_way: list[_Batch] = []

    def add(self, plain: Data) -> BlobSlot:
        """Take one blob; it may wait until there is room for it."""
        batch = self._batch
        slot = BlobSlot(batch, len(batch.plains))
        batch.plains.append(plain)
        batch.size_bytes += len(plain)
        if batch.size_bytes >= _BATCH_BYTES or len(batch.plains) >= _MOST_IN_BATCH:
            self.push()
        return slot

    def push(self) -> None:
        """Let the blobs that were added be looked at now, however few."""
        batch, self._batch = self._batch, _Batch(self)
        batch.begun = True
        if not batch.plains:
            batch.future.set_result([])
            return
        while len(self._under_way) >= _BATCHES_UNDER_WAY:
            self._under_way.pop(0).addresses()
        self._under_way.append(batch)
        self._workers.submit(self._work, batch)

    def add_now(self, plain: Data) -> bytes:
        """Store one blob and return its address."""
        return self._store(plain)

    def rely(self, address: bytes) -> bool:
        """Tell whether the blob is stored; then what is written may need it."""
        place = self.index.find(address)
        if place is not None:
            with self._lock:
                self.relied.add(place.pack)
        return place is not None

    def flush(self) -> None:
        """Make everything that was added durable, and known to others."""
        self.push()
        for batch in self._under_way:
            batch.addresses()
        self._under_way.clear()
        with self._lock:
            if self._draft.size_bytes:
                self._begin_put()
        self._settle(self._puts)
        self._tell()

    def close(self) -> None:
        """Let all threads go; what was not flushed may be lost."""
        self._workers.shutdown(cancel_futures=True)
        self._putting.shutdown(cancel_futures=True)

    def _work(self, batch: _Batch) -> None:
        try:
            addresses = [self._store(plain) for plain in batch.plains]
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for the batch
            batch.future.set_exception(error)
        else:
            batch.plains.clear()
            batch.future.set_result(addresses)

    def _store(self, plain: Data) -> bytes:
        address = self._opened.addresses.of(plain)
        if self._is_known(address, len(plain)):
            return address
        head, sealed = self._sealer.seal(address, plain)
        with self._lock:
            self._draft.add(address, head, sealed)
            self.figures.new_blobs += 1
            self.figures.new_bytes += len(plain)
            self.figures.packed_bytes += len(head) + len(sealed)
            full = self._draft.size_bytes >= PACK_BYTES
            if full:
                self._begin_put()
        if full:
            self._make_room()
        return address

    def _is_known(self, address: bytes, length: int) -> bool:
        """Tell whether the blob is stored, or on its way; else it is the caller's to store."""
        place = self.index.find(address)
        with self._lock:
            # looked up again: whoever had claimed it may have finished since
            place = place or self.index.find(address)
            known = place is not None or address in self._claimed
            if place is not None:
                self.relied.add(place.pack)
            if known:
                self.figures.known_blobs += 1
                self.figures.known_bytes += length
            else:
                self._claimed.add(address)
        return known

    def _begin_put(self) -> None:
        draft, self._draft = self._draft, self._next_draft()
        self._puts.add(self._putting.submit(self._put, draft))

    def _put(self, draft: PackDraft) -> None:
        self._opened.storage.put(pack_name(draft.id), draft.as_bytes(self._opened.objects))
        listing = draft.listing()
        with self._lock:
            self.relied.add(draft.id)
            self.index.add(listing)
            self._claimed.difference_update(blob.address for blob in listing.blobs)
            self._untold.append(listing)

    def _make_room(self) -> None:
        """Wait while more packs are under way than may be in memory."""
        with self._lock:
            puts = set(self._puts)
        if len(puts) > _PACKS_UNDER_WAY:
            done, _ = wait(puts, return_when="FIRST_COMPLETED")
            self._settle(done)
        if len(self._untold) >= _PACKS_AN_INDEX:
            self._tell()

    def _settle(self, puts: set[Future[None]]) -> None:
        for put in list(puts):
            put.result()
        with self._lock:
            self._puts -= puts

    def _tell(self) -> None:
        with self._lock:
            untold, self._untold = self._untold, []
        if untold:
            self._opened.put_index(untold)

    def _next_draft(self) -> PackDraft:
        if self._number >= 2**32:
            raise RecoverableError("this writer has written all the packs that one can")
        draft = PackDraft(self._writer, self._number)
        self._number += 1
        return draft
