"""Files that a blueprint's own snapshot has named: looked at, and read where it said what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from quiesce.backups import Progress
from quiesce.files.reading import open_regular_file
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.restore_point import Proof
from quiesce.ports import Context
from quiesce.provider_kit.saving import proof, watched

_PIECE_BYTES: Final = 1 << 20


def verify_named_files(call: Call, context: Context) -> Proof | None:
    """Check the ``files`` of *call*'s artifact, on this machine; None when it names none.

    Each is a path, or a mapping with ``path`` and, if they are known, ``size_bytes`` and ``sha256``. A
    relative path is one below the blueprint's directory. Without a checksum it is only looked at.
    """
    named = _named(call)
    if not named:
        return None
    told = watched(context)
    damages = [damage for each in named if (damage := _damage(call, each, told))]
    read = sum(_text(each, "sha256") != "" for each in named)
    kind = "checksums" if read == len(named) else "presence"
    return proof(kind, damage="; ".join(damages), detail=f"{len(named)} files are there, {read} of them read")


def _named(call: Call) -> Sequence[dict[str, Json]]:
    files = (call.artifact or {}).get("files")
    entries = files if isinstance(files, list) else [] if files is None else [files]
    return [each if isinstance(each, dict) else {"path": each} for each in entries]


def _damage(call: Call, named: dict[str, Json], told: Progress) -> str:
    path = Path(call.blueprint_dir or "/") / _text(named, "path")
    try:
        size_bytes, sha256 = _looked_at(path, named, told)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return f"{path} cannot be read: {reason}"
    if named.get("size_bytes") not in {None, size_bytes}:
        return f"{path} has {size_bytes} bytes, {named['size_bytes']} were named"
    if sha256 != _text(named, "sha256").lower():
        return f"{path} is not what was named: its checksum is another one"
    return ""


def _looked_at(path: Path, named: dict[str, Json], told: Progress) -> tuple[int, str]:
    if _text(named, "sha256"):
        size_bytes = named.get("size_bytes")
        return _checksum(path, told, size_bytes if isinstance(size_bytes, int) else None)
    with open_regular_file(path) as file:
        return file.seek(0, 2), ""


def _checksum(path: Path, told: Progress, at_most: int | None) -> tuple[int, str]:
    """Return size and SHA-256; of what is longer than *at_most*, an empty one: it may end nowhere."""
    hashed, size_bytes = hashlib.sha256(), 0
    with open_regular_file(path) as file:
        while data := file.read(_PIECE_BYTES):
            size_bytes += len(data)
            if at_most is not None and size_bytes > at_most:
                return max(size_bytes, file.seek(0, 2)), ""
            hashed.update(data)
            told(len(data))
    return size_bytes, hashed.hexdigest()


def _text(named: dict[str, Json], key: str) -> str:
    value = named.get(key)
    return value if isinstance(value, str) else ""
