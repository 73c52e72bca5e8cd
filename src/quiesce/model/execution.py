"""An execution: one run of a plan."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from quiesce.model.cut_size import CutSize
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, Json


class ExecutionState(enum.StrEnum):
    """The state of an execution."""

    #: begun and not ended; when no living process holds its lease, it was interrupted
    RUNNING = "running"
    COMPLETED = "completed"
    #: everything was done, but a restore point came out lower than `min_consistency`; it is kept
    NOT_CONSISTENT = "not-consistent"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What is kept of an execution beside its plan and its journal."""

    id: ExecutionId
    deployment: DeploymentName
    workflow: str
    #: as given
    parameters: Mapping[str, Json] = field(default_factory=dict)
    created_at: float
    state: ExecutionState = ExecutionState.RUNNING
    ended_at: float | None = None
    message: str = ""
    #: whether a thaw is still owed
    owes: bool = False
    #: the machine that runs it, where several share the database; empty: there is one
    host: str = ""
    #: the restore points that it makes, applies or deletes
    points: tuple[BackupName, ...] = ()
    #: how much was to be cut while things were frozen, counted before they were
    cut_sizes: Mapping[InstanceId, CutSize] = field(default_factory=dict)
