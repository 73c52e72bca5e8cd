"""The keys of one `QUIESCE_HOME`: each opens the repositories that were made with it.

Every key that the file holds is tried; the first one opens what is made here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import threading
from pathlib import Path
from typing import Final

from quiesce.errors import UsageError
from quiesce.files.durable import make_private_directory, storage_errors, sync_directory, write_durably
from quiesce.files.reading import read_regular
from quiesce.files.trust import require_trusted

#: where they lie, below QUIESCE_HOME
KEYS_FILE: Final = "repository.keys"
#: what a key begins with where it is written down
_PREFIX: Final = "quiesce-key-1-"
_KEY_BYTES: Final = 32
_FILE_BYTES: Final = 1 << 20


class Keyring:
    """Keys in a private file, made when first needed. Safe from many threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[bytes, ...] = ()
        self._lock = threading.Lock()

    def secrets_for(self, purpose: bytes) -> tuple[bytes, ...]:
        """Return 32 secret bytes made of each key for *purpose*; of the first key first of all.

        What they are used for tells nothing of the keys, nor of another purpose.
        """
        return tuple(_derived(key, purpose) for key in self._keys())

    def ensure(self) -> bool:
        """Make a key where there is none; tell whether that was needed."""
        with self._lock:
            return not self._read() and self._make()

    def export(self) -> str:
        """Return every key, one a line, to be kept where nobody else reads it."""
        self.ensure()
        return "".join(f"{_written(key)}\n" for key in self._keys())

    def add(self, text: str) -> int:
        """Take the keys that `export` gave, too; return how many of them were new.

        Raises:
            UsageError: when *text* holds something else, or nothing.
        """
        given = [_read_key(line) for line in text.split()]
        if not given:
            raise UsageError("there is no key in what was given")
        with self._lock:
            known = self._read()
            new = [key for key in dict.fromkeys(given) if key not in known]
            if new:
                self._write((*known, *new))
        return len(new)

    def _keys(self) -> tuple[bytes, ...]:
        with self._lock:
            return self._known or self._read()

    def _read(self) -> tuple[bytes, ...]:
        if not os.path.lexists(self.path):
            return ()
        require_trusted(
            self.path, private=True, hint=f"Make it yours alone: chown, and chmod 600 {self.path}"
        )
        with storage_errors(f"read {self.path}"):
            text = read_regular(self.path, at_most=_FILE_BYTES).decode(errors="replace")
        self._known = tuple(_read_key(line) for line in text.split())
        return self._known

    def _write(self, keys: tuple[bytes, ...]) -> None:
        with storage_errors(f"write {self.path}"):
            make_private_directory(self.path.parent)
            write_durably(self.path, "".join(f"{_written(key)}\n" for key in keys).encode())
        self._known = keys

    def _make(self) -> bool:
        """Make the first key, unless another process is quicker."""
        made = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        with storage_errors(f"write {self.path}"):
            make_private_directory(self.path.parent)
            write_durably(made, f"{_written(secrets.token_bytes(_KEY_BYTES))}\n".encode())
            try:
                os.link(made, self.path)
            except FileExistsError:
                return False
            finally:
                made.unlink()
                sync_directory(self.path.parent)
                self._read()
        return True


def _derived(key: bytes, use: bytes) -> bytes:
    return hmac.new(key, use, hashlib.sha256).digest()


def _written(key: bytes) -> str:
    return _PREFIX + base64.urlsafe_b64encode(key).decode().rstrip("=")


def _read_key(text: str) -> bytes:
    try:
        key = base64.urlsafe_b64decode(text.removeprefix(_PREFIX) + "=")
    except ValueError:
        key = b""
    if not text.startswith(_PREFIX) or len(key) != _KEY_BYTES:
        raise UsageError(f"a line is no key: it must begin with {_PREFIX}, as quiesce keys export writes it")
    return key
