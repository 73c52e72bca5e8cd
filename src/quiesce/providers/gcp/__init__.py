"""Google Compute Engine: machines and persistent disks."""

from __future__ import annotations

from typing import Final

from quiesce.model.capabilities import (
    MEASURING,
    PROBING,
    RESTARTING,
    SAVING,
    SUSPENDING,
    Capabilities,
    Description,
    Kind,
)
from quiesce.model.operation import Operation
from quiesce.providers.gcp.options import GcpOptions

MACHINE: Final = Kind(
    name="machine",
    types=frozenset(
        {"quiesce.nodes.gcp.Instance", "cloudify.gcp.nodes.Instance", "cloudify.nodes.gcp.Instance"}
    ),
    capabilities=Capabilities(
        operations=SUSPENDING | SAVING | RESTARTING | PROBING | MEASURING,
        copies_snapshots=True,
        copies_backups=True,
        beside="restore_beside",
        beside_snapshots=True,
        typical_s={Operation.SNAPSHOT: 5.0, Operation.SUSPEND: 60.0, Operation.RESUME: 30.0},
    ),
    functions=frozenset({"cloudify_gcp.compute.instance.stop", "cloudify_gcp.compute.instance.start"}),
)
DISK: Final = Kind(
    name="disk",
    types=frozenset({"quiesce.nodes.gcp.Disk", "cloudify.gcp.nodes.Volume", "cloudify.nodes.gcp.Volume"}),
    capabilities=Capabilities(
        operations=SAVING | RESTARTING | MEASURING,
        copies_snapshots=True,
        copies_backups=True,
        beside="restore_beside",
        beside_snapshots=True,
        typical_s={Operation.SNAPSHOT: 4.0},
    ),
)
#: the official plugin's node for snapshots of a disk that it names
SNAPSHOT: Final = Kind(
    name="snapshot",
    types=frozenset({"cloudify.gcp.nodes.Snapshot", "cloudify.nodes.gcp.Snapshot"}),
    capabilities=Capabilities(
        operations=SAVING,
        offered=False,
        copies_snapshots=True,
        copies_backups=True,
        typical_s={Operation.SNAPSHOT: 4.0},
    ),
    functions=frozenset({"cloudify_gcp.compute.snapshot.create", "cloudify_gcp.compute.snapshot.delete"}),
)

DESCRIPTION = Description(
    name="gcp",
    factory="quiesce.providers.gcp.provider:GcpProvider",
    node_types="node_types.yaml",
    page="docs/providers/gcp.md",
    remote=True,
    kinds=(MACHINE, DISK, SNAPSHOT),
    functions=frozenset({"quiesce.gcp."}),
    options=GcpOptions,
    extra="gcp",
)
