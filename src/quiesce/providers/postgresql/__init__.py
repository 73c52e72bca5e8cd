"""PostgreSQL servers: their own backup, whose cut is a place in the write-ahead log."""

from __future__ import annotations

from quiesce.model.capabilities import (
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
from quiesce.providers.postgresql.options import PostgreSQLOptions

SERVER = "quiesce.nodes.postgresql.Server"
#: a server whose directory is not known can be saved over the network, and not be replaced
_LOCAL = frozenset({"data_directory"})

DESCRIPTION = Description(
    name="postgresql",
    factory="quiesce.providers.postgresql.provider:PostgreSQLProvider",
    node_types="node_types.yaml",
    page="docs/providers/postgresql.md",
    functions=frozenset({"quiesce.postgresql."}),
    options=PostgreSQLOptions,
    extra="postgresql-server",
    kinds=(
        Kind(
            name="server",
            types=frozenset({SERVER}),
            capabilities=Capabilities(
                operations=PREPARING | SAVING | REVERTING | STOPPING | PROBING | MEASURING,
                needs=dict.fromkeys(
                    (
                        Operation.APPLY,
                        Operation.REVERT,
                        Operation.CONFIRM,
                        Operation.STOP,
                        Operation.START,
                        Operation.PROBE,
                    ),
                    _LOCAL,
                ),
                copies_snapshots=True,
                copies_backups=True,
                restores_elsewhere=True,
                alone=Consistency.APPLICATION,
                typical_s={Operation.SNAPSHOT: 0.05},
            ),
        ),
    ),
)
