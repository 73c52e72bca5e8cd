"""The service's messages as our values, and what their fields mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from quiesce.model.ids import Json
from quiesce.providers.gcp.errors import problem
from quiesce.providers.gcp.references import Reference, last_part, parse, path_of
from quiesce.providers.gcp.resources import AttachedDisk, GcpCopy, GcpDisk, GcpMachine, Quota

#: of a machine, what another one needs to be like it; metadata is left out: it may hold secrets
_SETTINGS: Final = (
    "advanced_machine_features",
    "can_ip_forward",
    "confidential_instance_config",
    "deletion_protection",
    "description",
    "display_device",
    "guest_accelerators",
    "hostname",
    "key_revocation_action_type",
    "labels",
    "min_cpu_platform",
    "network_performance_config",
    "private_ipv6_google_access",
    "reservation_affinity",
    "resource_policies",
    "scheduling",
    "service_accounts",
    "shielded_instance_config",
    "shielded_instance_integrity_policy",
)
_INTERFACE: Final = ("network", "subnetwork", "nic_type", "stack_type")


def machine(message: Any) -> GcpMachine:
    """Return an ``Instance`` as our value."""
    confidential = message.confidential_instance_config
    return GcpMachine(
        reference=parse(message.self_link),
        id=str(message.id),
        status=message.status,
        attachments=tuple(_attachment(disk) for disk in message.disks),
        labels=dict(message.labels),
        machine_type=last_part(message.machine_type),
        gpus=sum(card.accelerator_count for card in message.guest_accelerators),
        confidential=bool(
            confidential.enable_confidential_compute or confidential.confidential_instance_type
        ),
        started_at=message.last_start_timestamp,
        stopped_at=message.last_stop_timestamp,
        suspended_at=message.last_suspended_timestamp,
        settings=_settings(message),
        metadata=tuple(sorted(item.key for item in message.metadata.items)),
        addresses=tuple(filter(None, _addresses(message))),
    )


def disk(message: Any) -> GcpDisk:
    """Return a ``Disk`` as our value."""
    return GcpDisk(
        reference=parse(message.self_link),
        id=str(message.id),
        status=message.status,
        size_gb=message.size_gb,
        type=message.type_,
        labels=dict(message.labels),
        users=tuple(parse(user) for user in message.users),
        replica_zones=tuple(message.replica_zones),
        attached_at=message.last_attach_timestamp,
        customer_key=bool(message.disk_encryption_key.sha256),
        iops=message.provisioned_iops,
        throughput=message.provisioned_throughput,
        policies=tuple(path_of(policy) for policy in message.resource_policies),
        kms_key=message.disk_encryption_key.kms_key_name.partition("/cryptoKeyVersions/")[0],
        storage_pool=path_of(message.storage_pool),
    )


def copy(message: Any) -> GcpCopy:
    """Return a ``Snapshot``, an ``InstantSnapshot`` or a ``MachineImage`` as our value."""
    return GcpCopy(
        reference=parse(message.self_link),
        id=str(message.id),
        status=message.status,
        labels=dict(message.labels),
        disk_size_gb=getattr(message, "disk_size_gb", 0),
        stored_bytes=getattr(message, "storage_bytes", 0) or getattr(message, "total_storage_bytes", 0),
        source=parse(message.source_disk) if getattr(message, "source_disk", "") else None,
        group=path_of(getattr(message, "source_instant_snapshot_group", "")),
        fingerprint=message.label_fingerprint,
    )


def quota(message: Any) -> Quota:
    """Return a ``Quota`` as our value."""
    return Quota(metric=message.metric, limit=message.limit, usage=message.usage)


def listed(scope: Any) -> Iterable[Any]:
    """Return what one scope of an aggregated list holds."""
    for name in ("instances", "disks"):
        if hasattr(scope, name):
            found: Iterable[Any] = getattr(scope, name)
            return found
    return ()


def operation_reference(message: Any, project: str) -> Reference:
    """Return where an operation can be waited for."""
    scope = "global"
    if message.zone:
        scope = f"zones/{last_part(message.zone)}"
    elif message.region:
        scope = f"regions/{last_part(message.region)}"
    return Reference(project=project, scope=scope, collection="operations", name=message.name)


def is_done(message: Any) -> bool:
    """Tell whether an operation is over, well or not."""
    return bool(message.status.name == "DONE")


def raise_failure(message: Any) -> None:
    """Raise the error with which an operation ended, if it did.

    Raises:
        ProviderError: what the operation's own error says.
    """
    errors = list(message.error.errors)
    if errors or message.http_error_status_code >= 400:
        code = errors[0].code if errors else ""
        text = errors[0].message if errors else message.http_error_message
        raise problem(message.http_error_status_code, code, text or message.operation_type)


def _attachment(message: Any) -> AttachedDisk:
    scratch = message.type_ == "SCRATCH" or not message.source
    return AttachedDisk(
        device=message.device_name,
        disk=None if scratch else parse(message.source),
        boot=message.boot,
        auto_delete=message.auto_delete,
        mode=message.mode or "READ_WRITE",
        interface=message.interface,
        size_gb=message.disk_size_gb,
        customer_key=bool(message.disk_encryption_key.sha256),
    )


def _addresses(message: Any) -> Iterable[str]:
    for interface in message.network_interfaces:
        yield interface.network_i_p
        yield from (access.nat_i_p for access in interface.access_configs)
        yield from (alias.ip_cidr_range for alias in interface.alias_ip_ranges)


def _settings(message: Any) -> dict[str, Json]:
    everything: Mapping[str, Any] = type(message).to_dict(message, always_print_fields_with_no_presence=False)
    settings: dict[str, Json] = {key: everything[key] for key in _SETTINGS if everything.get(key)}
    if message.tags.items:
        settings["tags"] = {"items": list(message.tags.items)}
    settings["network_interfaces"] = [
        {key: interface[key] for key in _INTERFACE if interface.get(key)}
        for interface in everything.get("network_interfaces", ())
    ]
    return settings
