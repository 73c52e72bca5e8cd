"""The parameters of workflows, with their defaults, as data and as a checked value."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from quiesce.model.consistency import Consistency
from quiesce.model.former_state import Side
from quiesce.model.ids import BackupName, Json


class VerifyFirst(enum.StrEnum):
    """What is checked of a restore point before a restore touches anything."""

    #: every byte, unless a good check is younger than a day
    FULL = "full"
    #: what its last check said
    QUICK = "quick"
    #: nothing more than that it is not known to be damaged
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a workflow was asked for. Built by `planning.parameters.read_parameters` only."""

    snapshot_name: BackupName | None = None
    #: true: snapshot, tied to its source; false: backup, a full copy
    snapshot_incremental: bool = True
    snapshot_type: str = "irregular"
    snapshot_rotation: int = 1
    include_instances: tuple[str, ...] = ()
    include_nodes: tuple[str, ...] = ()
    exclude_nodes: tuple[str, ...] = ()
    include_types: tuple[str, ...] = ()
    exclude_types: tuple[str, ...] = ()
    #: bound in seconds on the time from the first freeze to the last thaw
    max_freeze_s: float = 30.0
    #: abort, or continue with a lower consistency
    abort_on_prepare_error: bool = True
    min_consistency: Consistency = Consistency.NONE
    parallel: int = 32
    task_retries: int = 2
    task_retry_interval_s: float = 1.0
    #: bound in seconds on each operation; None: the operation's own default
    operation_timeout_s: float | None = None
    keep_partial: bool = False
    #: None: where the provider snapshots cheaply
    safety_snapshot: bool | None = None
    apply_network: bool = False
    verify_first: VerifyFirst = VerifyFirst.FULL
    #: restore: for how many seconds what it replaces is kept; None: until the next restore has succeeded
    keep_undo_s: float | None = None
    #: restore: into which deployment, which instance into which, and whose restore point it is
    to: str = ""
    map: tuple[str, ...] = ()
    source: str = ""
    #: extract: below which directory
    target: str = ""
    #: undo_restore: which of the two states is wanted
    undo_to: Side = Side.FORMER
    #: remove_backup: every restore point of the chosen instances
    all: bool = False
    #: every parameter as each operation receives it, defaults filled in and custom ones included
    raw: Mapping[str, Json] = field(default_factory=dict)
