"""What a PostgreSQL server's directories need beside `server_places`, with the rights of their owner."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from quiesce.files.durable import write_durably
from quiesce.provider_kit.server_places import OPERATIONS, ServerPlace, main, settle_on_disk

_SIGNAL: Final = "recovery.signal"
#: what PostgreSQL reads after all its other settings
_SETTINGS: Final = "postgresql.auto.conf"
#: around what a recovery needs there
_BEGIN: Final = "# quiesce: recovery up to the cut\n"
_END: Final = "# quiesce: end\n"


def finish(request: Mapping[str, Any]) -> None:
    """Say how to recover, lay the log where it belongs, and have everything on the disk."""
    content = ServerPlace(request["directory"]).content
    if (log := request.get("log")) is not None:
        _move_log(content / "pg_wal", ServerPlace(log))
    (content / _SIGNAL).touch(mode=0o600)
    with (content / _SETTINGS).open("a") as file:
        file.write(_block(request["settings"]))
    settle_on_disk(request)


def forget_recovery(request: Mapping[str, Any]) -> None:
    """Take the settings away that a recovery which is over has needed: the next one needs others."""
    path = Path(request["directory"]) / _SETTINGS
    before, ours, after = path.read_text().partition(_BEGIN)
    if ours:
        write_durably(path, (before + after.partition(_END)[2]).encode())


def _move_log(made: Path, place: ServerPlace) -> None:
    """Move the log to a directory of its own, as it was; a link leads there."""
    place.content.mkdir(mode=0o700, exist_ok=True)
    for entry in sorted(made.iterdir()):
        shutil.move(entry, place.content / entry.name)
    made.rmdir()
    made.symlink_to(place.path)


def _block(settings: Mapping[str, str]) -> str:
    lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    return f"{_BEGIN}{lines}{_END}"


if __name__ == "__main__":
    main({**OPERATIONS, "finish": finish, "forget_recovery": forget_recovery})
