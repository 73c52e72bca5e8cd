"""OpenStack: servers, volumes and the definitions of networks."""

from __future__ import annotations

from typing import Final

from quiesce.model.capabilities import Capabilities, Description, Kind
from quiesce.model.operation import Operation

_SERVER: Final = Kind(
    name="server",
    types=frozenset(
        {
            "quiesce.nodes.openstack.Server",
            "cloudify.nodes.openstack.Server",
            "cloudify.openstack.nodes.Server",
        }
    ),
    capabilities=Capabilities(
        operations=frozenset(
            {
                Operation.FREEZE,
                Operation.THAW,
                Operation.SUSPEND,
                Operation.RESUME,
                Operation.SNAPSHOT,
                Operation.COPY,
                Operation.APPLY,
                Operation.DELETE,
                Operation.MEASURE,
            }
        ),
        copies_snapshots=True,
        copies_backups=True,
        typical_s={
            Operation.FREEZE: 0.3,
            Operation.THAW: 0.3,
            Operation.SUSPEND: 3.0,
            Operation.RESUME: 2.0,
            Operation.SNAPSHOT: 2.5,
            Operation.APPLY: 20.0,
            Operation.DELETE: 1.0,
            Operation.MEASURE: 0.5,
        },
    ),
    functions=frozenset(
        {
            "openstack_plugin.resources.compute.server.suspend",
            "openstack_plugin.resources.compute.server.resume",
            "openstack_plugin.resources.compute.server.snapshot_create",
            "openstack_plugin.resources.compute.server.snapshot_apply",
            "openstack_plugin.resources.compute.server.snapshot_delete",
            "nova_plugin.server.freeze_suspend",
            "nova_plugin.server.freeze_resume",
            "nova_plugin.server.suspend",
            "nova_plugin.server.resume",
            "nova_plugin.server.snapshot_create",
            "nova_plugin.server.snapshot_apply",
            "nova_plugin.server.snapshot_delete",
        }
    ),
)

_VOLUME: Final = Kind(
    name="volume",
    types=frozenset(
        {
            "quiesce.nodes.openstack.Volume",
            "cloudify.nodes.openstack.Volume",
            "cloudify.openstack.nodes.Volume",
        }
    ),
    capabilities=Capabilities(
        operations=frozenset(
            {
                Operation.SNAPSHOT,
                Operation.COPY,
                Operation.APPLY,
                Operation.DELETE,
                Operation.MEASURE,
            },
        ),
        # cheap, but a safety snapshot would be the newer one that Cinder then reverts to alone
        copies_backups=True,
        typical_s={
            Operation.SNAPSHOT: 1.0,
            Operation.APPLY: 10.0,
            Operation.DELETE: 1.0,
            Operation.MEASURE: 0.3,
        },
    ),
    functions=frozenset(
        {
            "openstack_plugin.resources.volume.volume.snapshot_create",
            "openstack_plugin.resources.volume.volume.snapshot_apply",
            "openstack_plugin.resources.volume.volume.snapshot_delete",
            "cinder_plugin.volume.snapshot_create",
            "cinder_plugin.volume.snapshot_apply",
            "cinder_plugin.volume.snapshot_delete",
        }
    ),
)

_NETWORK: Final = Kind(
    name="network object",
    types=frozenset(
        f"{prefix}.{name}"
        for prefix in ("quiesce.nodes.openstack", "cloudify.nodes.openstack", "cloudify.openstack.nodes")
        for name in ("Network", "Subnet", "Port", "Router", "SecurityGroup")
    ),
    capabilities=Capabilities(
        operations=frozenset({Operation.SNAPSHOT, Operation.APPLY, Operation.DELETE}),
        typical_s={Operation.SNAPSHOT: 0.3, Operation.APPLY: 0.5, Operation.DELETE: 0.1},
    ),
)

DESCRIPTION: Final = Description(
    name="openstack",
    factory="quiesce.providers.openstack.provider:OpenStackProvider",
    node_types="node_types.yaml",
    page="docs/providers/openstack.md",
    kinds=(_SERVER, _VOLUME, _NETWORK),
    functions=frozenset({"quiesce.openstack."}),
    extra="openstack",
)
