"""One Linux machine: its processes, directories, SQLite databases and file systems."""

from __future__ import annotations

from quiesce.model.capabilities import (
    EXTRACTING,
    FREEZING,
    MEASURING,
    PREPARING,
    PROBING,
    REVERTING,
    SAVING,
    STOPPING,
    SUSPENDING,
    Capabilities,
    Description,
    Kind,
)
from quiesce.model.consistency import Consistency
from quiesce.model.operation import Operation
from quiesce.providers.host.options import HostOptions

_FREEZE_S = {Operation.FREEZE: 0.01, Operation.THAW: 0.005}

_RUNNING = SUSPENDING | STOPPING | PROBING | MEASURING
_STARTED_BY = frozenset({"start", "systemd_unit"})
#: what cannot be started is not stopped
_NEEDS = {
    Operation.STOP: _STARTED_BY,
    Operation.START: _STARTED_BY,
    Operation.PROBE: frozenset({"probe"}),
}

PROCESS = "quiesce.nodes.host.Process"
PAUSED_PROCESS = "quiesce.nodes.host.PausedProcess"
DIRECTORY = "quiesce.nodes.host.Directory"
SQLITE = "quiesce.nodes.host.SQLite"
SQLITE_ALONE = "quiesce.nodes.host.SQLiteAlone"
FILE_SYSTEM = "quiesce.nodes.host.FileSystem"

DESCRIPTION = Description(
    name="host",
    factory="quiesce.providers.host.provider:HostProvider",
    node_types="node_types.yaml",
    page="docs/providers/host.md",
    functions=frozenset({"quiesce.host."}),
    options=HostOptions,
    kinds=(
        Kind(
            name="process",
            types=frozenset({PROCESS}),
            capabilities=Capabilities(operations=_RUNNING, needs=_NEEDS),
        ),
        Kind(
            name="paused process",
            types=frozenset({PAUSED_PROCESS}),
            capabilities=Capabilities(
                operations=FREEZING | _RUNNING,
                needs=_NEEDS,
                self_thaw=True,
                pauses=True,
                # it is stopped wherever it is: what it holds in memory is not written
                ceiling=Consistency.CRASH,
                typical_s=_FREEZE_S,
            ),
        ),
        Kind(
            name="directory",
            types=frozenset({DIRECTORY}),
            capabilities=Capabilities(
                operations=PREPARING | SAVING | REVERTING | EXTRACTING | MEASURING,
                copies_snapshots=True,
                copies_backups=True,
                restores_elsewhere=True,
                alone=Consistency.NONE,
                typical_s={Operation.SNAPSHOT: 0.5},
            ),
        ),
        Kind(
            name="database",
            types=frozenset({SQLITE}),
            capabilities=Capabilities(
                operations=FREEZING | MEASURING, self_thaw=True, waits_for_others=True, typical_s=_FREEZE_S
            ),
        ),
        Kind(
            name="database alone",
            types=frozenset({SQLITE_ALONE}),
            capabilities=Capabilities(
                operations=FREEZING | SAVING | REVERTING | EXTRACTING | MEASURING,
                copies_snapshots=True,
                copies_backups=True,
                restores_elsewhere=True,
                self_thaw=True,
                waits_for_others=True,
                alone=Consistency.APPLICATION,
                typical_s=_FREEZE_S | {Operation.SNAPSHOT: 0.2},
            ),
        ),
        Kind(
            name="file system",
            types=frozenset({FILE_SYSTEM}),
            capabilities=Capabilities(
                operations=FREEZING | MEASURING,
                self_thaw=True,
                ceiling=Consistency.FILESYSTEM,
                typical_s={Operation.FREEZE: 0.1, Operation.THAW: 0.01},
            ),
        ),
    ),
)
