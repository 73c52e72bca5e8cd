"""Holds a freeze that is a file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quiesce.errors import CannotFreezeError, NotFrozenError
from quiesce.provider_kit.session_holder import main


class TouchedFile:
    """A file that is there while it is held."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request = request
        self._path = Path(request["path"])

    def freeze(self) -> Mapping[str, Any]:
        """Make it."""
        if refuses := self._request.get("refuses"):
            raise CannotFreezeError(refuses)
        time.sleep(self._request.get("sleeps_s", 0.0))
        self._path.touch()
        return {}

    def keep(self) -> None:
        """Look whether it is there."""
        if not self._path.exists():
            raise NotFrozenError("it is gone")

    def thaw(self) -> None:
        """Remove it."""
        if self._request.get("hangs"):
            time.sleep(600.0)
        self._path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(TouchedFile)
