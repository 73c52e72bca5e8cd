"""Who did what in the console: one line of JSON for each, durable before it is done."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_SHOWN: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What somebody did."""

    at: float
    user: str
    what: str
    deployment: str = ""
    point: str = ""


class Audit:
    """The file of deeds."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, deed: Deed) -> None:
        """Keep *deed*; it is durable when this returns."""
        line = json.dumps(asdict(deed), ensure_ascii=True) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def last(self) -> Sequence[Deed]:
        """Return the last ones, newest first; what a full disk has cut off is left out."""
        if not self._path.exists():
            return ()
        with self._path.open() as lines:
            kept = deque(lines, maxlen=_SHOWN)
        return [deed for line in reversed(kept) if (deed := _deed(line)) is not None]


def _deed(line: str) -> Deed | None:
    try:
        return Deed(**json.loads(line))
    except (ValueError, TypeError):
        return None
