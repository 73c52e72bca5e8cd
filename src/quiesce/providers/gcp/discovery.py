"""A blueprint of what runs in a project."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.model.ids import Json
from quiesce.model.records import Level
from quiesce.providers.gcp import messages
from quiesce.providers.gcp.account import DEFAULT_ENDPOINT, Account
from quiesce.providers.gcp.client import Compute
from quiesce.providers.gcp.references import Reference
from quiesce.providers.gcp.resources import Disk, Machine


class _Unhurried:
    """A context for what no engine waits for."""

    def log(self, level: Level, message: str) -> None:
        """Nobody reads along."""

    def remaining_s(self) -> float:
        """Ten minutes for each request and pause."""
        return 600.0

    def given_up(self) -> bool:
        """Nobody gives up."""
        return False

    def progress(self, done_bytes: int, total_bytes: int | None = None) -> None:
        """Nothing is copied."""

    def set_runtime_properties(self, properties: Mapping[str, Json]) -> None:
        """There is no instance to keep them for."""

    def secret(self, name: str) -> str:
        """There is no deployment that has secrets."""
        raise NonRecoverableError(f"there is no secret {name!r}")


UNHURRIED: Final = _Unhurried()


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


def _blueprint(account: Account, machines: Iterable[Machine], disks: Iterable[Disk]) -> dict[str, Json]:
    config: dict[str, Json] = {"project": account.project}
    if account.endpoint != DEFAULT_ENDPOINT:
        config["api_endpoint"] = account.endpoint
    templates: dict[str, Json] = {}
    for machine in machines:
        _add(templates, machine.reference, "quiesce.nodes.gcp.Instance", config)
    for disk in disks:
        _add(templates, disk.reference, "quiesce.nodes.gcp.Disk", config)
    return {
        "tosca_definitions_version": "cloudify_dsl_1_3",
        "imports": ["cloudify/types/types.yaml", "plugin:quiesce"],
        "node_templates": templates,
    }


def _add(templates: dict[str, Json], reference: Reference, node_type: str, config: dict[str, Json]) -> None:
    name = re.sub(r"[^a-z0-9]+", "_", reference.name)
    place = re.sub(r"[^a-z0-9]+", "_", reference.place)
    key = name if name not in templates else f"{name}_{place}"
    templates[key] = {
        "type": node_type,
        "properties": {"resource_id": reference.path, "gcp_config": dict(config)},
    }
