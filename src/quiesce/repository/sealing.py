"""Compresses and encrypts: blobs within packs, and whole objects."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from typing import Final

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from quiesce.errors import DamagedArtifactError
from quiesce.model.stored_object import ObjectName
from quiesce.ports.storage import Data
from quiesce.repository.keys import Keys

ADDRESS_BYTES: Final = 32
#: the address of zeros, which are never stored
ZEROS: Final = bytes(ADDRESS_BYTES)
#: no blob is larger, and nothing that claims to be is unpacked
MOST_BLOB_BYTES: Final = 16 << 20
#: no index or point is larger
MOST_OBJECT_BYTES: Final = 1 << 30
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
#: what a blob takes beside its content: method, nonce, tag
OVERHEAD_BYTES: Final = 1 + _NONCE_BYTES + _TAG_BYTES
_STORED: Final = b"\0"
_ZSTD: Final = b"\1"
_MAGIC: Final = b"quiesce1"
_LEVEL: Final = 1


class Addresses:
    """Gives blobs their addresses: a keyed hash, so that nobody without the key can tell what is stored."""

    def __init__(self, keys: Keys) -> None:
        self._keyed = hashlib.blake2b(key=keys.addressing, digest_size=ADDRESS_BYTES)

    def of(self, plain: Data) -> bytes:
        """Return the address of what *plain* holds."""
        hashing = self._keyed.copy()
        hashing.update(plain)
        return hashing.digest()


class _Compressors(threading.local):
    """One for each thread: they are not to be shared."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_compressors = _Compressors()


class BlobSealer:
    """Seals the blobs of one writer, whose number is part of its packs' names; from many threads at once.

    The key is the writer's own and nonces are counted, so none is ever used twice.
    """

    def __init__(self, keys: Keys, writer: bytes) -> None:
        self._cipher = blob_cipher(keys, writer)
        self._numbers = itertools.count()

    def seal(self, address: bytes, plain: Data) -> tuple[bytes, bytes]:
        """Return the two parts, one after the other, that are stored for the blob at *address*."""
        method, packed = _packed(plain)
        nonce = next(self._numbers).to_bytes(_NONCE_BYTES, "little")
        return method + nonce, self._cipher.encrypt(nonce, packed, address + method)


def blob_cipher(keys: Keys, writer: bytes) -> AESGCM:
    """Return what opens all blobs of one writer."""
    return AESGCM(keys.derived(b"quiesce blobs", writer))


def open_blob(cipher: AESGCM, address: bytes, sealed: Data) -> bytes:
    """Return the content of the blob at *address*.

    Raises:
        DamagedArtifactError: when this is not what was stored there.
    """
    view = memoryview(sealed)
    method, nonce = bytes(view[:1]), bytes(view[1 : 1 + _NONCE_BYTES])
    try:
        packed = cipher.decrypt(nonce, view[1 + _NONCE_BYTES :], address + method)
        return _unpacked(method, packed, MOST_BLOB_BYTES)
    except (InvalidTag, ValueError, zstandard.ZstdError) as error:
        raise DamagedArtifactError(f"the blob {address.hex()} is not what was written") from error


class ObjectSealer:
    """Seals whole objects; each is bound to its name."""

    def __init__(self, keys: Keys) -> None:
        self._cipher = AESGCM(keys.derived(b"quiesce objects"))

    def seal(self, name: ObjectName, plain: bytes) -> bytes:
        """Return what is stored under *name*."""
        method, packed = _packed(plain)
        nonce = os.urandom(_NONCE_BYTES)
        return _MAGIC + method + nonce + self._cipher.encrypt(nonce, packed, method + name.encode())

    def open(self, name: ObjectName, sealed: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            DamagedArtifactError: when it is not what was written under that name.
        """
        begin = len(_MAGIC) + 1
        head, method, nonce = (
            sealed[: len(_MAGIC)],
            sealed[len(_MAGIC) : begin],
            sealed[begin : begin + _NONCE_BYTES],
        )
        try:
            if head != _MAGIC:
                raise ValueError("it begins with something else")
            packed = self._cipher.decrypt(nonce, sealed[begin + _NONCE_BYTES :], method + name.encode())
            return _unpacked(method, packed, MOST_OBJECT_BYTES)
        except (InvalidTag, ValueError, zstandard.ZstdError) as error:
            raise DamagedArtifactError(f"{name} is not what was written there") from error


def _packed(plain: Data) -> tuple[bytes, Data]:
    compressed = _compressors.compressor.compress(plain)
    return (_ZSTD, compressed) if len(compressed) < len(plain) else (_STORED, plain)


def _unpacked(method: bytes, packed: bytes, most: int) -> bytes:
    if method == _STORED:
        return packed
    if method != _ZSTD or not 0 <= zstandard.frame_content_size(packed) <= most:
        raise ValueError("its packing is not one that is written")
    return _compressors.decompressor.decompress(packed)
