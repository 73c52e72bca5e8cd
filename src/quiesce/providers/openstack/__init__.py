"""OpenStack: servers, volumes and the definitions of networks."""

from __future__ import annotations

from typing import Final

from quiesce.model.capabilities import (
    FREEZING,
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
from quiesce.providers.openstack.options import OpenStackOptions

#: of the node types: quiesce's own, and the official plugin's of versions 3 and 2
_PREFIXES: Final = ("quiesce.nodes.openstack", "cloudify.nodes.openstack", "cloudify.openstack.nodes")

_SERVER: Final = Kind(
    name="server",
    types=frozenset(f"{prefix}.Server" for prefix in _PREFIXES),
    capabilities=Capabilities(
        operations=FREEZING | SUSPENDING | SAVING | RESTARTING | PROBING | MEASURING,
        copies_snapshots=True,
        copies_backups=True,
        # Nova's own freeze reaches no application; FREEZE succeeds where it is provable only
        ceiling=Consistency.FILESYSTEM,
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
    types=frozenset(f"{prefix}.Volume" for prefix in _PREFIXES),
    capabilities=Capabilities(
        operations=SAVING | RESTARTING | MEASURING,
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

_NETWORKS: Final = tuple(
    Kind(
        name=name,
        types=frozenset(f"{prefix}.{type_}" for prefix in _PREFIXES),
        capabilities=Capabilities(
            operations=frozenset({Operation.SNAPSHOT, Operation.APPLY, Operation.DELETE}),
            typical_s={Operation.SNAPSHOT: 0.3, Operation.APPLY: 0.5, Operation.DELETE: 0.1},
        ),
    )
    for name, type_ in (
        ("network", "Network"),
        ("subnet", "Subnet"),
        ("port", "Port"),
        ("router", "Router"),
        ("security group", "SecurityGroup"),
    )
)

DESCRIPTION: Final = Description(
    name="openstack",
    factory="quiesce.providers.openstack.provider:OpenStackProvider",
    node_types="node_types.yaml",
    page="docs/providers/openstack.md",
    remote=True,
    kinds=(_SERVER, _VOLUME, *_NETWORKS),
    functions=frozenset({"quiesce.openstack."}),
    options=OpenStackOptions,
    extra="openstack",
)
