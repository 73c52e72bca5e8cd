"""Which project, where and as whom: ``gcp_config`` and ``client_config`` of blueprints."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.files.reading import read_regular
from quiesce.model.ids import Json

DEFAULT_ENDPOINT: Final = "https://compute.googleapis.com"
_LARGEST_KEY_BYTES: Final = 1 << 20
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One account at one endpoint; who has the same shares a connection. *auth* is secret."""

    endpoint: str = DEFAULT_ENDPOINT
    #: a key file's content; empty: application default credentials
    auth: str = field(default="", repr=False)

    @property
    def anonymous(self) -> bool:
        """Whether no credentials are sent: never over a connection that anybody could read."""
        return self.endpoint.startswith("http://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How to reach Compute Engine for one node, and where its resources are by default."""

    login: Login
    #: empty: the one that the credentials name
    project: str = ""
    zone: str = ""
    region: str = ""


def account_of(properties: Mapping[str, Json]) -> Account:
    """Return the account that a node's properties name.

    Raises:
        NonRecoverableError: when they cannot be understood; the message quotes no secret.
    """
    config = _mapping(properties.get("gcp_config")) | _mapping(properties.get("client_config"))
    auth = _auth(config.get("auth"))
    endpoint = _text(config.get("api_endpoint")).rstrip("/") or DEFAULT_ENDPOINT
    if not _ENDPOINT.fullmatch(endpoint):
        raise NonRecoverableError(
            f"api_endpoint {endpoint!r} is not usable",
            hint="Write https://HOST or https://HOST:PORT, no path.",
        )
    return Account(
        project=_text(config.get("project")) or _text((auth or {}).get("project_id")),
        zone=_text(config.get("zone")),
        region=_text(config.get("region")),
        login=Login(endpoint=endpoint, auth=json.dumps(auth, sort_keys=True) if auth else ""),
    )


def _mapping(value: Json) -> dict[str, Json]:
    return dict(value) if isinstance(value, dict) else {}


def _text(value: Json) -> str:
    return value.strip() if isinstance(value, str) else ""


def _auth(value: Json) -> Mapping[str, Json] | None:
    if isinstance(value, dict):
        return _auth(value["value"]) if "value" in value else value or None
    text = _text(value)
    if not text:
        return None
    return _parsed(text if text.startswith("{") else _content(text))


def _content(path: str) -> str:
    try:
        return read_regular(Path(path).expanduser().resolve(), at_most=_LARGEST_KEY_BYTES).decode()
    except (OSError, ValueError, RuntimeError) as error:
        raise NonRecoverableError(
            "gcp_config.auth is neither JSON nor a file that can be read",
            hint="Give the key file's content or path, or leave auth out for default credentials.",
        ) from error


def _parsed(text: str) -> Mapping[str, Json]:
    try:
        auth = json.loads(text)
    except (ValueError, RecursionError):
        auth = None
    if not isinstance(auth, dict):
        raise NonRecoverableError("gcp_config.auth is not the JSON object of a key file") from None
    return auth
