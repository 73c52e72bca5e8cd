"""What did not go as it should with single entries of a tree, while the rest went on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_MOST_SHOWN: Final = 1000


@dataclass(frozen=True, slots=True)
class EntryProblem:
    """One entry, and what was not done with it."""

    #: below the root of the tree; the root's own is empty
    path: bytes
    reason: str
    #: the error's number where the kernel said it, else 0
    errno: int = 0

    def __str__(self) -> str:
        return f"{os.fsdecode(self.path) or '.'!r}: {self.reason}"


@dataclass(slots=True)
class TreeProblems:
    """All that did not go well in one tree: counted all, kept as far as somebody could read them."""

    count: int = 0
    #: how many there are of each reason
    reasons: dict[str, int] = field(default_factory=dict)
    first: list[EntryProblem] = field(default_factory=list)

    def add(self, path: bytes, reason: str | OSError) -> None:
        """Note that *reason* kept something from being done with the entry *path*."""
        problem = _problem(path, reason)
        self.count += 1
        self.reasons[problem.reason] = self.reasons.get(problem.reason, 0) + 1
        if len(self.first) < _MOST_SHOWN:
            self.first.append(problem)

    def __bool__(self) -> bool:
        return self.count > 0

    def __iter__(self) -> Iterator[EntryProblem]:
        return iter(self.first)

    def counted(self) -> str:
        """Say how many there are of each kind."""
        return ", ".join(f"{reason}: {count}" for reason, count in self.reasons.items())

    def __str__(self) -> str:
        shown = "; ".join(str(problem) for problem in self.first[:5])
        return shown + (f" and {self.count - 5} more" if self.count > 5 else "")


def _problem(path: bytes, reason: str | OSError) -> EntryProblem:
    if isinstance(reason, OSError):
        return EntryProblem(path, reason.strerror or str(reason), reason.errno or 0)
    return EntryProblem(path, reason)
