"""vSphere: snapshots and full backups of virtual machines, through vCenter or one ESXi host."""

from __future__ import annotations

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
from quiesce.model.consistency import Consistency
from quiesce.model.operation import Operation
from quiesce.providers.vsphere.options import VSphereOptions

DESCRIPTION = Description(
    name="vsphere",
    factory="quiesce.providers.vsphere.provider:VSphereProvider",
    node_types="node_types.yaml",
    page="docs/providers/vsphere.md",
    remote=True,
    kinds=(
        Kind(
            name="machine",
            types=frozenset(
                {
                    "cloudify.nodes.vsphere.Server",
                    "cloudify.vsphere.nodes.Server",
                    "quiesce.nodes.vsphere.Server",
                }
            ),
            capabilities=Capabilities(
                operations=SUSPENDING | SAVING | RESTARTING | PROBING | MEASURING,
                copies_backups=True,
                cheap_snapshot=True,
                beside="restore_to",
                # VMware Tools freeze inside the cut itself; a cut without them says so and is less consistent
                alone=Consistency.FILESYSTEM,
                typical_s={
                    Operation.SUSPEND: 10.0,
                    Operation.RESUME: 10.0,
                    Operation.SNAPSHOT: 5.0,
                    Operation.APPLY: 20.0,
                    Operation.DELETE: 10.0,
                },
            ),
            functions=frozenset(
                {
                    "quiesce.vsphere.",
                    "vsphere_server_plugin.server.freeze_resume",
                    "vsphere_server_plugin.server.freeze_suspend",
                    "vsphere_server_plugin.server.snapshot_apply",
                    "vsphere_server_plugin.server.snapshot_create",
                    "vsphere_server_plugin.server.snapshot_delete",
                }
            ),
        ),
        Kind(
            name="disk",
            types=frozenset(
                {
                    "cloudify.nodes.vsphere.Storage",
                    "cloudify.vsphere.nodes.Storage",
                    "quiesce.nodes.vsphere.Disk",
                }
            ),
            capabilities=Capabilities(
                operations=frozenset({Operation.SNAPSHOT, Operation.APPLY, Operation.DELETE}),
                alone=Consistency.FILESYSTEM,
                typical_s={Operation.SNAPSHOT: 0.1, Operation.APPLY: 0.1, Operation.DELETE: 0.1},
            ),
        ),
    ),
    options=VSphereOptions,
    extra="vsphere",
)
