"""Redis and Valkey servers: held for an instant by a pause of their own, saved as of the moment they fork."""

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
from quiesce.providers.redis.options import RedisOptions

SERVER = "quiesce.nodes.redis.Server"
#: without its directory, a server is held while other nodes cut its files
_SAVED = frozenset({"data_directory"})
_RESTARTED = frozenset({"data_directory", "systemd_unit"})

DESCRIPTION = Description(
    name="redis",
    factory="quiesce.providers.redis.provider:RedisProvider",
    node_types="node_types.yaml",
    page="docs/providers/redis.md",
    functions=frozenset({"quiesce.redis."}),
    options=RedisOptions,
    extra="redis-server",
    kinds=(
        Kind(
            name="server",
            types=frozenset({SERVER}),
            capabilities=Capabilities(
                operations=PREPARING | FREEZING | SAVING | REVERTING | STOPPING | PROBING | MEASURING,
                needs={
                    **dict.fromkeys(SAVING | REVERTING, _SAVED),
                    **dict.fromkeys(STOPPING | PROBING, _RESTARTED),
                },
                copies_snapshots=True,
                copies_backups=True,
                restores_elsewhere=True,
                self_thaw=True,
                alone=Consistency.APPLICATION,
                typical_s={Operation.FREEZE: 0.1, Operation.SNAPSHOT: 0.05, Operation.THAW: 0.05},
            ),
        ),
    ),
)
