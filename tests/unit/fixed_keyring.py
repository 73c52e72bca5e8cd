"""A keyring that needs no file."""

from __future__ import annotations

from pathlib import Path

from quiesce.archives import Keyring


class FixedKeyring(Keyring):
    """Has one key, the same in every test; *letter* makes it another one."""

    def __init__(self, letter: bytes = b"k") -> None:
        super().__init__(Path("nowhere"))
        self._known = (letter * 32,)
