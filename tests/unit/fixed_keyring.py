"""A keyring that needs no file, and a home with it."""

from __future__ import annotations

from pathlib import Path

from quiesce.backups import BackupHome, Keyring
from quiesce.ports.providers import no_secret


class FixedKeyring(Keyring):
    """Has one key, the same in every test; *letter* makes it another one."""

    def __init__(self, letter: bytes = b"k") -> None:
        super().__init__(Path("nowhere"))
        self._known = (letter * 32,)

    def ensure(self) -> bool:
        return False


def a_home(drafts: Path, letter: bytes = b"k") -> BackupHome:
    """Return a home whose unfinished backups are noted in *drafts*."""
    return BackupHome(keyring=FixedKeyring(letter), secret=no_secret, drafts=drafts)
