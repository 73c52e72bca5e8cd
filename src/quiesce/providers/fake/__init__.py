"""An in-memory data centre with faults: for tests, benchmarks and trying things out.

The smallest whole provider, too: begin with a copy of this folder (CONTRIBUTING.md, "Add a provider").
"""

from __future__ import annotations

from dataclasses import replace

from quiesce.model.capabilities import (
    EXTRACTING,
    FREEZING,
    MEASURING,
    PREPARING,
    PROBING,
    RESTARTING,
    REVERTING,
    SAVING,
    STOPPING,
    SUSPENDING,
    Capabilities,
    Description,
    Kind,
)
from quiesce.model.operation import Operation
from quiesce.providers.fake.options import FakeOptions

_MACHINE = Capabilities(
    operations=PREPARING | FREEZING | SUSPENDING | SAVING | REVERTING | EXTRACTING | MEASURING,
    copies_backups=True,
    self_thaw=True,
    cheap_snapshot=True,
    freeze_for_apply=True,
)

DESCRIPTION = Description(
    name="fake",
    factory="quiesce.providers.fake.provider:FakeProvider",
    page="docs/providers.md",
    kinds=(
        Kind(
            name="machine",
            types=frozenset({"quiesce.nodes.fake.Machine"}),
            capabilities=replace(_MACHINE, operations=_MACHINE.operations | RESTARTING),
            functions=frozenset({"quiesce.fake."}),
        ),
        Kind(
            name="idle",
            types=frozenset({"quiesce.nodes.fake.Idle"}),
            capabilities=Capabilities(operations=FREEZING | {Operation.SNAPSHOT}),
        ),
        Kind(
            name="service",
            types=frozenset({"quiesce.nodes.fake.Service"}),
            capabilities=replace(_MACHINE, operations=_MACHINE.operations | STOPPING | PROBING),
        ),
    ),
    options=FakeOptions,
)
