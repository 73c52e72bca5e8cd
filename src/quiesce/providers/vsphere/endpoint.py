"""Which vCenter a node lies on, and how its machine is found there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.words import WrongValueError, read_flag, whole_number
from quiesce.providers.vsphere.inventory import MachineLookup

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class VCenterEndpoint:
    """Where to log in; two nodes with equal ones share a session."""

    host: str
    username: str
    password: str = field(repr=False)
    port: int = 443
    #: TLS is verified unless this is set, for this endpoint only
    allow_insecure: bool = False
    certificate_path: str | None = None
    certificate_data: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def of(cls, config: Mapping[str, Json]) -> VCenterEndpoint:
        """Read a ``connection_config`` as the official plugin's blueprints write it.

        Raises:
            NonRecoverableError: when something is missing or contradicts itself.
        """
        _refuse_incomplete(config)
        insecure = _read(config, "allow_insecure", read_flag, False)
        path, data = _text(config, "certificate_path"), _text(config, "certificate_data")
        if insecure and (path or data):
            raise NonRecoverableError("connection_config has both allow_insecure and a certificate: drop one")
        return cls(
            host=str(config["host"]),
            username=str(config["username"]),
            password=str(config["password"]),
            port=_read(config, "port", whole_number(1, 65535), 443),
            allow_insecure=insecure,
            certificate_path=path,
            certificate_data=data,
        )


def endpoint_of(call: Call) -> VCenterEndpoint:
    """Return the endpoint of *call*'s node.

    Raises:
        NonRecoverableError: when its ``connection_config`` does not give one.
    """
    return VCenterEndpoint.of(_config(call))


def lookup_of(call: Call) -> MachineLookup:
    """Return how the machine of *call*'s instance is found."""
    runtime = call.runtime_properties
    resource = call.properties.get("resource_id") or runtime.get("resource_id")
    recorded = runtime.get("vsphere_server_id")
    return MachineLookup(
        resource=str(resource) if resource else None,
        id=str(recorded) if recorded else None,
        names=tuple(dict.fromkeys(_names(call))),
        datacenter=_text(_config(call), "datacenter_name"),
    )


def _config(call: Call) -> Mapping[str, Json]:
    config = call.properties.get("connection_config")
    return config if isinstance(config, dict) else {}


def _names(call: Call) -> list[str]:
    """Return the names that the official plugin would have given, likeliest first."""
    name = call.runtime_properties.get("name")
    if name:
        return [str(name)]
    server = call.properties.get("server")
    server = server if isinstance(server, dict) else {}
    wanted = server.get("name")
    if wanted and (call.properties.get("use_external_resource") or server.get("add_scale_suffix") is False):
        return [str(wanted)]
    prefix, _, suffix = call.instance.rpartition("_")
    made = f"{wanted or prefix}-{suffix}".replace("_", "-")
    return [made, str(wanted or call.node.id)]


def _refuse_incomplete(config: Mapping[str, Json]) -> None:
    missing = [name for name in ("host", "username", "password") if not config.get(name)]
    if missing:
        raise NonRecoverableError(
            f"connection_config has no {', '.join(missing)}",
            hint="Give the node a connection_config with host, username and password.",
        )


def _text(config: Mapping[str, Json], name: str) -> str | None:
    value = config.get(name)
    return str(value) if value else None


def _read(config: Mapping[str, Json], name: str, read: Callable[[Json], T], default: T) -> T:
    value = config.get(name)
    if value is None or value == "":
        return default
    try:
        return read(value)
    except WrongValueError as error:
        raise NonRecoverableError(f"{name} of connection_config: {error}") from None
