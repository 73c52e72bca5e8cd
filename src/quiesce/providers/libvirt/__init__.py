"""libvirt and QEMU: domains with their disks, volumes, networks and pools."""

from __future__ import annotations

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
from quiesce.providers.libvirt.options import LibvirtOptions

DOMAIN = Kind(
    name="domain",
    types=frozenset({"cloudify.libvirt.domain", "quiesce.nodes.libvirt.Domain"}),
    capabilities=Capabilities(
        operations=FREEZING | SUSPENDING | SAVING | RESTARTING | PROBING | MEASURING,
        copies_backups=True,
        self_thaw=True,
        cheap_snapshot=True,
        beside="restore_as",
        restores_elsewhere=True,
        elsewhere_anew=True,
        typical_s={Operation.FREEZE: 0.1, Operation.SNAPSHOT: 0.1, Operation.THAW: 0.05},
    ),
    functions=frozenset({"cloudify_libvirt.domain_tasks."}),
)
VOLUME = Kind(
    name="volume",
    types=frozenset({"cloudify.libvirt.volume", "quiesce.nodes.libvirt.Volume"}),
    capabilities=Capabilities(operations=SAVING, copies_backups=True, typical_s={Operation.SNAPSHOT: 0.1}),
    functions=frozenset({"cloudify_libvirt.volume_tasks."}),
)
NETWORK = Kind(
    name="network",
    types=frozenset({"cloudify.libvirt.network", "quiesce.nodes.libvirt.Network"}),
    capabilities=Capabilities(
        operations=SAVING,
        copies_snapshots=True,
        copies_backups=True,
        alone=Consistency.APPLICATION,
        typical_s={Operation.SNAPSHOT: 0.01},
    ),
    functions=frozenset({"cloudify_libvirt.network_tasks."}),
)
POOL = Kind(
    name="pool",
    types=frozenset({"cloudify.libvirt.pool", "quiesce.nodes.libvirt.Pool"}),
    capabilities=Capabilities(
        operations=SAVING,
        copies_snapshots=True,
        copies_backups=True,
        alone=Consistency.APPLICATION,
        typical_s={Operation.SNAPSHOT: 0.01},
    ),
    functions=frozenset({"cloudify_libvirt.pool_tasks."}),
)

DESCRIPTION = Description(
    name="libvirt",
    factory="quiesce.providers.libvirt.provider:LibvirtProvider",
    node_types="node_types.yaml",
    page="docs/providers/libvirt.md",
    kinds=(DOMAIN, VOLUME, NETWORK, POOL),
    functions=frozenset({"quiesce.libvirt."}),
    options=LibvirtOptions,
    extra="libvirt",
)
