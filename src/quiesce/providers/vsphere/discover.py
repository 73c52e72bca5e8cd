"""A blueprint of the machines that are on a vCenter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from quiesce.errors import NonRecoverableError
from quiesce.model.ids import Json
from quiesce.provider_kit.deadline import Deadline
from quiesce.provider_kit.discovery import BlueprintBuilder, UnhurriedContext, first_line
from quiesce.providers.vsphere.endpoint import VCenterEndpoint
from quiesce.providers.vsphere.inventory import VirtualMachine
from quiesce.providers.vsphere.ownership import STATE, MachineState, owner_of_machine
from quiesce.providers.vsphere.vcenter import VCenter


def discover(options: Mapping[str, str], connect: Callable[[VCenterEndpoint], VCenter]) -> Mapping[str, Json]:
    """Return a blueprint as plain data, one node for each machine; templates and quiesce's copies are none.

    Options: ``endpoint`` (host or host:port), ``username``, ``password_file`` (its first line) or
    ``password``; ``certificate_path``, ``allow_insecure``; ``folder`` (only what is in it and below),
    ``name`` (a regular expression). The blueprint takes the password from the secret ``vsphere_password``.
    """
    options = {**options, **_host_and_port(options)}
    vcenter = connect(VCenterEndpoint.of({**options, "password": _password(options)}))
    wanted = _pattern(options.get("name"))
    machines = vcenter.machines(options.get("folder") or None, Deadline(UnhurriedContext(), "vCenter"))
    builder = BlueprintBuilder()
    for machine in sorted(machines, key=lambda one: (one.name, one.id)):
        if wanted.search(machine.name) and not machine.template and not _is_copy(machine):
            name = builder.name("machine", machine.id, wish=machine.name)
            builder.add(name, "quiesce.nodes.vsphere.Server", dict(_properties(machine, options)))
    return builder.blueprint()


def _is_copy(machine: VirtualMachine) -> bool:
    """Tell whether quiesce keeps it as a full copy, or makes it now; one that was restored is none."""
    restored = machine.marks.get(STATE) == MachineState.READY
    return owner_of_machine(machine) is not None and not restored


def _properties(machine: VirtualMachine, options: Mapping[str, str]) -> Iterator[tuple[str, Json]]:
    yield "resource_id", machine.uuid or machine.id
    yield "use_external_resource", True
    yield "server", {"name": machine.name}
    yield "connection_config", dict(_connection(options))


def _connection(options: Mapping[str, str]) -> Iterator[tuple[str, Json]]:
    yield "host", options["host"]
    yield "username", options["username"]
    yield "password", {"get_secret": "vsphere_password"}
    for name in ("port", "certificate_path", "allow_insecure"):
        if options.get(name):
            yield name, options[name]


def _host_and_port(options: Mapping[str, str]) -> dict[str, str]:
    host, _, port = options.get("endpoint", "").rpartition(":")
    if not host:
        return {"host": port} if port else {}
    return {"host": host, "port": port}


def _password(options: Mapping[str, str]) -> str:
    path = options.get("password_file")
    if not path:
        return options.get("password", "")
    return first_line(path)


def _pattern(text: str | None) -> re.Pattern[str]:
    try:
        return re.compile(text or "")
    except re.error as error:
        raise NonRecoverableError(f"name is not a regular expression: {error}") from error
