"""Who uses a tree that is to be replaced or removed; quiesce's own processes do not count."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from quiesce.files.usage import User, usage_of
from quiesce.providers.host import processes

_SHOWN: Final = 5
#: a shell from which quiesce was called may stand in the data: it loses nothing
_STANDS_THERE: Final = ("working directory",)


def users_of(directory: int, own: Collection[int]) -> tuple[User, ...]:
    """Return the processes that use an open directory or what is in it, but those in *own*."""
    users = usage_of(directory, besides=own).users
    if not users:
        return ()
    callers = processes.ourselves(processes.every_process())
    return tuple(user for user in users if user.pid not in callers or user.ways != _STANDS_THERE)


def shown(users: Collection[User]) -> str:
    """Return them as a list for messages."""
    text = ", ".join(str(user) for user in list(users)[:_SHOWN])
    return text + (f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else "")
