"""What a provider can be asked to do, and what blueprints call it."""

from __future__ import annotations

import enum
from typing import Final


class Operation(enum.StrEnum):
    """One thing a provider can do to one instance."""

    #: stop writes and flush; owes a THAW from the moment it begins
    FREEZE = "freeze"
    #: let writes go on; returns only when the node is known to be thawed
    THAW = "thaw"
    #: stop the machine's processors (or the process), memory kept
    SUSPEND = "suspend"
    RESUME = "resume"
    #: fix the point in time (the cut)
    SNAPSHOT = "snapshot"
    #: move the data of a finished cut; runs after the thaw
    COPY = "copy"
    #: put an instance back to a restore point
    APPLY = "apply"
    #: remove what SNAPSHOT and COPY made, finished or half-made
    DELETE = "delete"
    #: statistics
    MEASURE = "measure"


FS_PREPARE: Final = "cloudify.interfaces.freeze.fs_prepare"
FS_FINALIZE: Final = "cloudify.interfaces.freeze.fs_finalize"
FREEZE_SUSPEND: Final = "cloudify.interfaces.freeze.suspend"
FREEZE_RESUME: Final = "cloudify.interfaces.freeze.resume"
LIFECYCLE_SUSPEND: Final = "cloudify.interfaces.lifecycle.suspend"
LIFECYCLE_RESUME: Final = "cloudify.interfaces.lifecycle.resume"
SNAPSHOT_CREATE: Final = "cloudify.interfaces.snapshot.create"
SNAPSHOT_APPLY: Final = "cloudify.interfaces.snapshot.apply"
SNAPSHOT_DELETE: Final = "cloudify.interfaces.snapshot.delete"
STATISTICS: Final = "cloudify.interfaces.statistics.perfomance"
STATISTICS_ALIAS: Final = "cloudify.interfaces.statistics.performance"

#: the full operation names that the six workflows run, and what each asks of a provider
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
    STATISTICS: Operation.MEASURE,
    STATISTICS_ALIAS: Operation.MEASURE,
}
