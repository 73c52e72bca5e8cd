"""MariaDB servers: held by a session of their own, or saved by mariadb-backup."""

from __future__ import annotations

from quiesce.model.capabilities import (
    FREEZING,
    MEASURING,
    PREPARING,
    PROBING,
    REVERTING,
    SAVING,
    STOPPING,
    Capabilities,
    Description,
    Kind,
)
from quiesce.model.consistency import Consistency
from quiesce.model.operation import Operation
from quiesce.providers.mariadb.options import MariaDBOptions

SERVER = "quiesce.nodes.mariadb.Server"
_HELD = frozenset({"hold"})
#: without its directory, a server is held while other nodes cut its files
_SAVED = frozenset({"data_directory"})
_RESTARTED = frozenset({"data_directory", "systemd_unit"})

DESCRIPTION = Description(
    name="mariadb",
    factory="quiesce.providers.mariadb.provider:MariaDBProvider",
    node_types="node_types.yaml",
    page="docs/providers/mariadb.md",
    functions=frozenset({"quiesce.mariadb."}),
    options=MariaDBOptions,
    extra="mariadb-server",
    kinds=(
        Kind(
            name="server",
            types=frozenset({SERVER}),
            capabilities=Capabilities(
                operations=PREPARING | FREEZING | SAVING | REVERTING | STOPPING | PROBING | MEASURING,
                needs={
                    **dict.fromkeys(FREEZING, _HELD),
                    **dict.fromkeys(SAVING | REVERTING, _SAVED),
                    **dict.fromkeys(STOPPING | PROBING, _RESTARTED),
                },
                copies_snapshots=True,
                copies_backups=True,
                restores_elsewhere=True,
                self_thaw=True,
                alone=Consistency.APPLICATION,
                typical_s={Operation.FREEZE: 0.1, Operation.SNAPSHOT: 2.0, Operation.THAW: 0.05},
            ),
        ),
    ),
)
