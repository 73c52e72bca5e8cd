"""A blueprint of the machines that are on a vCenter."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from quiesce.errors import NonRecoverableError
from quiesce.model.ids import Json
from quiesce.providers.vsphere.center import Center, Machine
from quiesce.providers.vsphere.endpoints import Endpoint


def discover(options: Mapping[str, str], center_of: Callable[[Endpoint], Center]) -> Mapping[str, Json]:
    """Return a blueprint as plain data, one node for each machine.

    Options: ``endpoint`` (host or host:port), ``username``, ``password_file`` (its first line) or
    ``password``; ``certificate_path``, ``allow_insecure``; ``folder`` (only what is in it and below),
    ``name`` (a regular expression). The blueprint takes the password from the secret ``vsphere_password``.
    """
    options = {**options, **_host_and_port(options)}
    endpoint = Endpoint.of({**options, "password": _password(options)})
    wanted = _pattern(options.get("name"))
    machines = center_of(endpoint).inventory(options.get("folder") or None)
    chosen = sorted((one for one in machines if wanted.search(one.name)), key=lambda one: (one.name, one.id))
    return {
        "tosca_definitions_version": "cloudify_dsl_1_3",
        "imports": ["plugin:quiesce"],
        "dsl_definitions": {},
        "node_templates": _templates(chosen, options),
    }


def _templates(machines: list[Machine], options: Mapping[str, str]) -> dict[str, Json]:
    templates: dict[str, Json] = {}
    for machine in machines:
        templates[_node_name(machine, templates)] = {
            "type": "quiesce.nodes.vsphere.Server",
            "properties": {
                "resource_id": machine.uuid or machine.id,
                "use_external_resource": True,
                "server": {"name": machine.name},
                "connection_config": _connection(options),
            },
        }
    return templates


def _connection(options: Mapping[str, str]) -> dict[str, Json]:
    config: dict[str, Json] = {
        "host": options["host"],
        "username": options["username"],
        "password": {"get_secret": "vsphere_password"},
    }
    for name in ("port", "certificate_path", "allow_insecure"):
        if options.get(name):
            config[name] = options[name]
    return config


def _node_name(machine: Machine, taken: Mapping[str, Json]) -> str:
    name = re.sub(r"[^A-Za-z0-9_]+", "_", machine.name).strip("_") or "machine"
    return name if name not in taken else f"{name}_{machine.id.replace('-', '_')}"


def _host_and_port(options: Mapping[str, str]) -> dict[str, str]:
    host, _, port = options.get("endpoint", "").rpartition(":")
    if not host:
        return {"host": port} if port else {}
    return {"host": host, "port": port}


def _password(options: Mapping[str, str]) -> str:
    path = options.get("password_file")
    if not path:
        return options.get("password", "")
    try:
        return Path(path).read_text(encoding="utf-8").partition("\n")[0]
    except OSError as error:
        raise NonRecoverableError(f"the password cannot be read from {path}: {error.strerror}") from error


def _pattern(text: str | None) -> re.Pattern[str]:
    try:
        return re.compile(text or "")
    except re.error as error:
        raise NonRecoverableError(f"name is not a regular expression: {error}") from error
