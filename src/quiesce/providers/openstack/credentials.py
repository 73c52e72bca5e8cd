"""Which cloud a node belongs to, and how to log in: from its properties, clouds.yaml or the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import Json

#: what the blueprint calls it, newest first: plugin version 3, plugin version 2
PROPERTIES: Final = ("client_config", "openstack_config")
_AUTH: Final = frozenset(
    {
        "auth_url",
        "username",
        "user_id",
        "password",
        "token",
        "project_name",
        "project_id",
        "user_domain_id",
        "user_domain_name",
        "project_domain_id",
        "project_domain_name",
        "domain_id",
        "domain_name",
        "application_credential_id",
        "application_credential_name",
        "application_credential_secret",
        "trust_id",
        "system_scope",
    }
)
#: spellings of the two plugins and of the SDK for one thing
_SPELLINGS: Final = {"tenant_name": "project_name", "tenant_id": "project_id", "region": "region_name"}
#: settings of the plugins that have no meaning here
_PASSED_OVER: Final = frozenset({"logging", "kwargs", "custom_configuration", "insecure", "ca_cert"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How to log in. An empty *auth* leaves it to clouds.yaml and the environment.

    Compared as wholes; mappings have no hash, and the few clouds of one deployment need none that differs.
    """

    auth: Mapping[str, Json] = field(default_factory=dict, repr=False, hash=False)
    #: everything else that the SDK understands: ``cloud``, ``region_name``, ``verify``
    options: Mapping[str, Json] = field(default_factory=dict, repr=False, hash=False)


def credentials_of(call: Call) -> Credentials:
    """Return what the call's node says about its cloud; operation inputs win over properties."""
    given: dict[str, Json] = {}
    for source in (call.properties, call.inputs):
        for name in PROPERTIES:
            given |= _mapping(source.get(name), name)
    return read_credentials(given)


def read_credentials(given: Mapping[str, Json]) -> Credentials:
    """Return *given* (a ``client_config``) sorted into what the SDK wants."""
    merged = {**given, **_mapping(given.get("kwargs"), "kwargs")}
    named = {_SPELLINGS.get(key, key): value for key, value in merged.items() if value not in (None, "")}
    auth = {**_mapping(named.pop("auth", None), "auth")}
    auth |= {key: named.pop(key) for key in list(named) if key in _AUTH}
    options: dict[str, Json] = {key: value for key, value in named.items() if key not in _PASSED_OVER}
    if merged.get("insecure") is True:
        options["verify"] = False
    if merged.get("ca_cert"):
        options["cacert"] = merged["ca_cert"]
    return Credentials(auth=_with_domains(auth), options=options)


def _with_domains(auth: dict[str, Json]) -> dict[str, Json]:
    """Fill in the default domain, which blueprints of older clouds never name."""
    if "username" in auth and not {"user_domain_id", "user_domain_name"} & auth.keys():
        auth["user_domain_id"] = "default"
    if "project_name" in auth and not {"project_domain_id", "project_domain_name"} & auth.keys():
        auth["project_domain_id"] = "default"
    return auth


def _mapping(value: Json, name: str) -> Mapping[str, Json]:
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise NonRecoverableError(f"{name} must be a mapping, not {type(value).__name__}")
    return value
