"""A blueprint of what runs in a project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from quiesce.errors import NonRecoverableError
from quiesce.model.ids import Json
from quiesce.provider_kit.discovery import BlueprintBuilder
from quiesce.providers.gcp import messages
from quiesce.providers.gcp.account import DEFAULT_ENDPOINT, Account
from quiesce.providers.gcp.client import Compute
from quiesce.providers.gcp.resources import GcpDisk, GcpMachine


def discover(compute: Compute, account: Account, options: Mapping[str, str]) -> Mapping[str, Json]:
    """Return a blueprint with every machine of the project and the disks that no machine has.

    *options*: ``project``, ``zone`` (only that one), ``filter`` (of machines, as Compute Engine spells it).
    """
    if not account.project:
        raise NonRecoverableError("no project is known", hint="Give one: --option project=PROJECT")
    expression = options.get("filter", "")
    machines = compute.everywhere(account.project, "InstancesClient", messages.machine, expression)
    disks = compute.everywhere(account.project, "DisksClient", messages.disk)
    zone = options.get("zone")
    machines = [machine for machine in machines if not zone or machine.reference.place == zone]
    loose = [disk for disk in disks if not disk.users and (not zone or disk.reference.place == zone)]
    return _blueprint(account, machines, [] if expression else loose)


def _blueprint(account: Account, machines: Iterable[GcpMachine], disks: Iterable[GcpDisk]) -> dict[str, Json]:
    config: dict[str, Json] = {"project": account.project}
    if account.login.endpoint != DEFAULT_ENDPOINT:
        config["api_endpoint"] = account.login.endpoint
    builder = BlueprintBuilder()
    found = [("Instance", machine.reference) for machine in machines]
    found += [("Disk", disk.reference) for disk in disks]
    for kind, reference in found:
        properties: dict[str, Json] = {"resource_id": reference.path, "gcp_config": dict(config)}
        name = builder.name(kind, reference.path, reference.name)
        builder.add(name, f"quiesce.nodes.gcp.{kind}", properties)
    return builder.blueprint()
