"""A node that is a directory: what a blueprint's own operations do to it, and what a test sees of that."""

from __future__ import annotations

from pathlib import Path

from quiesce.testing import Subject


class DirectorySubject(Subject):
    """``state`` holds its state; ``frozen`` and ``suspended`` mark those; ``made`` holds what was made."""

    _root: Path

    def write(self, token: str) -> None:
        """Change the state."""
        (self._root / "state").write_text(token)

    def read(self) -> str:
        """Return the state."""
        return (self._root / "state").read_text()

    def frozen(self) -> bool:
        """Tell whether it is frozen."""
        return (self._root / "frozen").exists()

    def suspended(self) -> bool:
        """Tell whether it is suspended."""
        return (self._root / "suspended").exists()

    def objects(self) -> frozenset[str]:
        """Return what was made of it."""
        return frozenset(path.name for path in (self._root / "made").glob("*"))
