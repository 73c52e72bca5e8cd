"""What all parsers share: how one is described, where it may write, a context that says nothing."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: what tells that bytes are not JSON of the shape that was asked for
NO_JSON: Final = (ValueError, TypeError, AttributeError, KeyError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Parser:
    """One parser of foreign bytes."""

    seeds: tuple[bytes, ...]
    parse: Callable[[bytes], object]
    #: a package that an extra brings
    needs: str = ""

    @property
    def can_run(self) -> bool:
        """Whether what it needs is installed."""
        try:
            return not self.needs or importlib.util.find_spec(self.needs) is not None
        except ModuleNotFoundError:  # of a part of it
            return False


class Silent:
    """A context in which nothing is told and time does not pass."""

    def remaining_s(self) -> float:
        return 30.0

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_, **__: None


_directory: Path | None = None


def scratch() -> Path:
    """Return a directory in memory for what can be parsed as a file only."""
    global _directory
    if _directory is None:
        shared = Path("/dev/shm")
        _directory = Path(tempfile.mkdtemp(prefix="quiesce-fuzz-", dir=shared if shared.is_dir() else None))
    return _directory


def forget_scratch() -> None:
    """Remove what was written for the parsers."""
    global _directory
    if _directory is not None:
        shutil.rmtree(_directory)
        _directory = None
