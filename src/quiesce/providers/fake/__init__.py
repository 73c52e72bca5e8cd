"""An in-memory data centre with faults: for tests, benchmarks and trying things out."""

from __future__ import annotations

from quiesce.model.capabilities import Capabilities, Description, Kind
from quiesce.model.operation import Operation

_EVERYTHING = frozenset(Operation) - {Operation.COPY}

DESCRIPTION = Description(
    name="fake",
    factory="quiesce.providers.fake.provider:FakeProvider",
    kinds=(
        Kind(
            types=frozenset({"quiesce.nodes.fake.Machine", "quiesce.nodes.fake.Service"}),
            capabilities=Capabilities(
                operations=_EVERYTHING,
                copies_backups=True,
                self_thaw=True,
                cheap_snapshot=True,
                freeze_for_apply=True,
            ),
            functions=frozenset({"quiesce.fake."}),
        ),
        Kind(
            types=frozenset({"quiesce.nodes.fake.Idle"}),
            capabilities=Capabilities(
                operations=frozenset({Operation.FREEZE, Operation.THAW, Operation.SNAPSHOT})
            ),
        ),
    ),
)
