"""What a restore would meet at one instance, found out before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetProblem:
    """One reason why it would fail, or do harm."""

    #: as errors have it: ``in-use``, ``mount-inside``
    code: str
    detail: str
    #: what to do about it
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreTarget:
    """One instance that is to be replaced, or a place that is to be written to."""

    problems: tuple[TargetProblem, ...] = ()
    #: how much is written, beside what is there; None: nothing, or that is not known
    needed_bytes: int | None = None
    free_bytes: int | None = None
    #: what the room is that is shared with other instances: a file system
    room: str = ""
    #: files that it names and that are not those of now, each for people
    differences: tuple[str, ...] = ()
    #: what the restored instance will not be or have that the saved one was or had, each for people
    lost: tuple[str, ...] = ()


NO_OBJECTION = RestoreTarget()
