"""What a restore replaced, and keeps so that it can be undone."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from quiesce.model.ids import BackupName, ExecutionId


class Side(enum.StrEnum):
    """Which of the two states that a restore has exchanged."""

    #: what was there before the restore
    FORMER = "former"
    #: what the restore put there, and what has become of it since
    RESTORED = "restored"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerState:
    """What is kept of one instance by its last restore."""

    #: the restore that can be undone
    execution: ExecutionId
    #: what that restore put there
    point: BackupName | None
    #: when, in seconds since the epoch
    replaced_at: float
    #: whether that restore has come to its end without a failure
    succeeded: bool
    #: which state is kept; the other one is what runs now
    kept: Side
    #: where it is kept
    place: str
    #: as far as that is known without reading it
    size_bytes: int | None = None
    #: when it may be removed, in seconds since the epoch; None: when the next restore has succeeded
    keep_until: float | None = None
    #: where older states are kept, until the next restore has succeeded
    older: tuple[str, ...] = ()
