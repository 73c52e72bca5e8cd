"""What is wrong with a blueprint, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from quiesce.errors import BlueprintError


class Position(NamedTuple):
    """A place in a file; lines and columns count from 1, and 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


#: no place known
NOWHERE: Final = Position("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    position: Position
    what: str
    #: what would be right; empty when *what* says it all
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.position}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")


#: how many problems a message tells; the others are the next ones to be mended
MOST_TOLD: Final = 100


class InvalidBlueprintError(BlueprintError):
    """The blueprint, a file that it imports or one of its inputs is wrong; nothing was run."""

    code = "blueprint-invalid"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(_in_reading_order(dict.fromkeys(problems)))
        count = len(self.problems)
        lines = [str(problem) for problem in self.problems[:MOST_TOLD]]
        if count > MOST_TOLD:
            lines.append(f"and {count - MOST_TOLD} more")
        super().__init__(lines[0] if count == 1 else "\n".join([f"{count} problems:", *lines]))


def _in_reading_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return *problems* from top to bottom, one file after the other."""
    found = list(problems)
    files = list(dict.fromkeys(problem.position.file for problem in found))
    return sorted(found, key=lambda problem: (files.index(problem.position.file), *problem.position[1:]))


class FunctionError(BlueprintError):
    """An intrinsic function cannot be evaluated."""

    code = "blueprint-function"
    #: where the function is written, when that is known
    position: Position | None = None


class Problems:
    """Collects what is wrong, so that all of it is reported at once."""

    def __init__(self) -> None:
        self.found: list[Problem] = []
        #: what is odd and yet understood
        self.warnings: list[Problem] = []

    def add(self, position: Position, what: str, remedy: str = "") -> None:
        """Note one problem and go on."""
        self.found.append(Problem(position=position, what=what, remedy=remedy))

    def warn(self, position: Position, what: str, remedy: str = "") -> None:
        """Note something that is not as it should be, and can be understood all the same."""
        self.warnings.append(Problem(position=position, what=what, remedy=remedy))

    def stop_if_any(self) -> None:
        """Raise everything found so far.

        Raises:
            InvalidBlueprintError: when anything was found.
        """
        if self.found:
            raise InvalidBlueprintError(self.found)


def suggestion(name: object, known: Iterable[object], *, listed: str = "known") -> str:
    """Return a remedy for the unknown *name*: the nearest of *known*, or what there is."""
    names = sorted(str(each) for each in known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"{listed}: {shown or 'none'}"
