"""What a provider can be asked to do, and what blueprints call it."""

from __future__ import annotations

import enum
from typing import Final, Self


class Operation(enum.StrEnum):
    """One thing a provider can do to one instance, and how many seconds one try of it may take.

    A parameter of the workflow, ``operation_timeout``, replaces that time. A member without one is refused
    when this module is imported.
    """

    #: do before the window what would make it longer (a checkpoint, a copy to start from); stops nothing,
    #: owes nothing, and is done again when it was long ago
    PREPARE = "prepare", 86400.0
    #: stop writes and flush; owes a THAW from the moment it begins. Short by nature
    FREEZE = "freeze", 20.0
    #: let writes go on; returns only when the node is known to be thawed. Gets more time than a freeze, and
    #: is tried again without end
    THAW = "thaw", 60.0
    #: stop the machine's processors (or the process), memory kept
    SUSPEND = "suspend", 600.0
    RESUME = "resume", 600.0
    #: fix the point in time (the cut)
    SNAPSHOT = "snapshot", 600.0
    #: move the data of a finished cut; runs after the thaw
    COPY = "copy", 86400.0
    #: put an instance back to a restore point
    APPLY = "apply", 86400.0
    #: remove what SNAPSHOT and COPY made, finished or incomplete
    DELETE = "delete", 3600.0
    #: put an instance back to the state that a restore replaced, or from there to the restored one
    REVERT = "revert", 86400.0
    #: the restore has succeeded: keep what it replaced as its undo, and let go of older ones
    CONFIRM = "confirm", 3600.0
    #: write what a restore point holds of an instance below a directory; the instance is not touched
    EXTRACT = "extract", 86400.0
    #: end what runs, so that it can be restored; owes a START from the moment it begins
    STOP = "stop", 600.0
    #: let it run again, also what an APPLY has switched off by itself; is tried again without end
    START = "start", 600.0
    #: return when it answers and is consistent
    PROBE = "probe", 120.0
    #: check what a restore point holds of an instance, without restoring it. No step of a plan: it is asked
    VERIFY = "verify", 86400.0
    #: statistics
    MEASURE = "measure", 60.0

    timeout_s: float

    def __new__(cls, name: str, timeout_s: float = 0.0) -> Self:
        """Make the member called *name*.

        Raises:
            TypeError: when it has no time-out.
        """
        if timeout_s <= 0:
            raise TypeError(f"the operation {name} has no time-out")
        member = str.__new__(cls, name)
        member._value_ = name
        member.timeout_s = timeout_s
        return member


FS_PREPARE: Final = "cloudify.interfaces.freeze.fs_prepare"
FS_FINALIZE: Final = "cloudify.interfaces.freeze.fs_finalize"
FREEZE_SUSPEND: Final = "cloudify.interfaces.freeze.suspend"
FREEZE_RESUME: Final = "cloudify.interfaces.freeze.resume"
LIFECYCLE_SUSPEND: Final = "cloudify.interfaces.lifecycle.suspend"
LIFECYCLE_RESUME: Final = "cloudify.interfaces.lifecycle.resume"
SNAPSHOT_CREATE: Final = "cloudify.interfaces.snapshot.create"
SNAPSHOT_APPLY: Final = "cloudify.interfaces.snapshot.apply"
SNAPSHOT_DELETE: Final = "cloudify.interfaces.snapshot.delete"
BACKUP_PREPARE: Final = "quiesce.interfaces.backup.prepare"
RESTORE_REVERT: Final = "quiesce.interfaces.restore.revert"
RESTORE_CONFIRM: Final = "quiesce.interfaces.restore.confirm"
RESTORE_EXTRACT: Final = "quiesce.interfaces.restore.extract"
RESTORE_STOP: Final = "quiesce.interfaces.restore.stop"
RESTORE_START: Final = "quiesce.interfaces.restore.start"
RESTORE_POWER_ON: Final = "quiesce.interfaces.restore.power_on"
RESTORE_PROBE: Final = "quiesce.interfaces.restore.probe"
RESTORE_VERIFY: Final = "quiesce.interfaces.restore.verify"
STATISTICS: Final = "cloudify.interfaces.statistics.perfomance"
STATISTICS_ALIAS: Final = "cloudify.interfaces.statistics.performance"

#: the full operation names that are run, and what each asks of a provider
INTERFACES: Final[dict[str, Operation]] = {
    FS_PREPARE: Operation.FREEZE,
    FS_FINALIZE: Operation.THAW,
    FREEZE_SUSPEND: Operation.SUSPEND,
    FREEZE_RESUME: Operation.RESUME,
    LIFECYCLE_SUSPEND: Operation.SUSPEND,
    LIFECYCLE_RESUME: Operation.RESUME,
    SNAPSHOT_CREATE: Operation.SNAPSHOT,
    SNAPSHOT_APPLY: Operation.APPLY,
    SNAPSHOT_DELETE: Operation.DELETE,
    BACKUP_PREPARE: Operation.PREPARE,
    RESTORE_REVERT: Operation.REVERT,
    RESTORE_CONFIRM: Operation.CONFIRM,
    RESTORE_EXTRACT: Operation.EXTRACT,
    RESTORE_STOP: Operation.STOP,
    RESTORE_START: Operation.START,
    RESTORE_POWER_ON: Operation.START,
    RESTORE_PROBE: Operation.PROBE,
    RESTORE_VERIFY: Operation.VERIFY,
    STATISTICS: Operation.MEASURE,
    STATISTICS_ALIAS: Operation.MEASURE,
}

#: after one of them has begun, something may have taken the place of an instance's state
REPLACING: Final = frozenset({Operation.APPLY, Operation.REVERT})
#: what leaves a debt from the moment it begins: a FREEZE owes a THAW, a STOP owes a START
INDEBTING: Final = frozenset({Operation.FREEZE, Operation.STOP})
