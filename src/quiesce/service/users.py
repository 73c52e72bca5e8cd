"""Who may use the console: a name, a role, and a token of which only a digest is kept."""

from __future__ import annotations

import enum
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quiesce.errors import UnknownNameError, UsageError
from quiesce.files.durable import write_durably
from quiesce.files.reading import read_regular
from quiesce.files.trust import require_trusted

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_AT_MOST: Final = 1 << 20


class UserRole(enum.IntEnum):
    """What a user may do; each may do what those before may."""

    #: look at everything
    VIEWER = 1
    #: back up, verify, cancel
    OPERATOR = 2
    #: restore, undo, remove, and say what happens by itself
    ADMIN = 3

    @property
    def label(self) -> str:
        """The word for people."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleUser:
    """Somebody who may use the console."""

    name: str
    role: UserRole
    #: of the token; another one when it was given a new token
    digest: str = field(repr=False)


class Users:
    """The users, in a private file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, name: str, role: UserRole) -> str:
        """Make a user, or give one a new token and role; return the token, which is nowhere kept.

        Who is logged in with the former token is logged out.

        Raises:
            UsageError: when the name is not allowed.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no user's name: 1 to 40 letters, digits, '.', '_' or '-'")
        token = secrets.token_urlsafe(32)
        self._write({**self._read(), name: {"role": role.label, "sha256": _digest(token)}})
        return token

    def remove(self, name: str) -> None:
        """Forget a user, who is logged out.

        Raises:
            UnknownNameError: listing those there are.
        """
        known = dict(self._read())
        if known.pop(name, None) is None:
            raise UnknownNameError("user", name, known)
        self._write(known)

    def list(self) -> list[ConsoleUser]:
        """Return all of them, by name."""
        return [_user(name, kept) for name, kept in sorted(self._read().items())]

    def of_token(self, token: str) -> ConsoleUser | None:
        """Return whose *token* is; None: nobody's."""
        digest = _digest(token)
        matching = [
            _user(name, kept)
            for name, kept in self._read().items()
            if hmac.compare_digest(kept["sha256"], digest)
        ]
        return matching[0] if matching else None

    def _read(self) -> Mapping[str, Mapping[str, str]]:
        if not self._path.exists():
            return {}
        require_trusted(self._path, private=True, hint=f"Make it yours alone: chmod 600 {self._path}")
        kept: Mapping[str, Mapping[str, str]] = json.loads(read_regular(self._path, at_most=_AT_MOST))
        return kept

    def _write(self, users: Mapping[str, Mapping[str, str]]) -> None:
        write_durably(self._path, json.dumps(users, indent=1).encode())


def read_role(word: str) -> UserRole:
    """Return the role that *word* names.

    Raises:
        UsageError: when it names none.
    """
    if word.upper() not in UserRole.__members__:
        raise UsageError(f"{word!r} is no role: say {', '.join(role.label for role in UserRole)}")
    return UserRole[word.upper()]


def _user(name: str, kept: Mapping[str, str]) -> ConsoleUser:
    return ConsoleUser(name=name, role=read_role(kept["role"]), digest=kept["sha256"])


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
