"""A blueprint of what runs on a platform, put together node by node."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.files.reading import read_named
from quiesce.model.call import Related
from quiesce.model.ids import Json
from quiesce.model.records import Level

_PASSWORD_FILE_BYTES: Final = 65536
CONNECTED_TO: Final = "cloudify.relationships.connected_to"
CONTAINED_IN: Final = "cloudify.relationships.contained_in"


def first_line(path: str) -> str:
    """Return the first line of the file at *path*, which holds a password.

    Raises:
        NonRecoverableError: when it is no regular file that can be read.
    """
    try:
        return read_named(Path(path), at_most=_PASSWORD_FILE_BYTES).decode().partition("\n")[0].rstrip("\r")
    except OSError as error:
        raise NonRecoverableError(f"the password cannot be read from {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise NonRecoverableError(f"the password in {path} is not text in UTF-8") from error


class BlueprintBuilder:
    """Collects node templates; every resource gets one name, and no name is given twice."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()
        self._templates: dict[str, Json] = {}
        self._inputs: dict[str, Json] = {}

    def add_input(self, name: str, kind: str, default: Json = None) -> Json:
        """Declare an input and return what reads it."""
        self._inputs[name] = {"type": kind, **({} if default is None else {"default": default})}
        return {"get_input": name}

    def name(self, kind: str, resource: str, wish: str | None = None) -> str:
        """Return the node's name for *resource* of *kind*: made of *wish* or of its own name."""
        key = (kind, resource)
        if key not in self._names:
            plain = re.sub(r"[^A-Za-z0-9_]+", "_", wish or resource).strip("_") or kind
            self._names[key] = self._free(plain, kind)
            self._taken.add(self._names[key])
        return self._names[key]

    def add(
        self,
        name: str,
        node_type: str,
        properties: Mapping[str, Json],
        relationships: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Add a node; *relationships* are type and target's name."""
        template: dict[str, Json] = {"type": node_type, "properties": dict(properties)}
        links: list[Json] = [
            {"type": kind, "target": target} for kind, target in dict.fromkeys(relationships)
        ]
        if links:
            template["relationships"] = links
        self._templates[name] = template

    def blueprint(self) -> dict[str, Json]:
        """Return it as plain data, ready to be written as YAML."""
        return {
            "tosca_definitions_version": "cloudify_dsl_1_3",
            "imports": ["cloudify/types/types.yaml", "plugin:quiesce"],
            **({"inputs": self._inputs} if self._inputs else {}),
            "node_templates": self._templates,
        }

    def _free(self, plain: str, kind: str) -> str:
        if plain not in self._taken:
            return plain
        number, name = 1, f"{plain}_{kind}"
        while name in self._taken:
            number += 1
            name = f"{plain}_{kind}_{number}"
        return name


def password_in(options: Mapping[str, str]) -> str | None:
    """Return the first line of what ``password_file`` names; None when no file is named."""
    path = options.get("password_file")
    return first_line(path) if path else None


def port_number(text: str) -> int:
    """Return the port that *text* names.

    Raises:
        NonRecoverableError: when it is none.
    """
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise NonRecoverableError(f"{text!r} is no port")
    return int(text)


class UnhurriedContext:
    """Answers the port `Context` where no engine waits: while a platform is discovered."""

    def __init__(self, request_s: float = 600.0) -> None:
        """*request_s*: the time-out of each request, in seconds."""
        self._request_s = request_s

    def log(self, level: Level, message: str) -> None:
        """Nobody reads along."""

    def remaining_s(self) -> float:
        """As long for each request."""
        return self._request_s

    def given_up(self) -> bool:
        """Nobody gives up."""
        return False

    def progress(self, done_bytes: int, total_bytes: int | None = None) -> None:
        """Nothing is copied."""

    def set_runtime_properties(self, properties: Mapping[str, Json]) -> None:
        """There is no instance to keep them for."""

    def secret(self, name: str) -> str:
        """There is no deployment that has secrets.

        Raises:
            NonRecoverableError: always.
        """
        raise NonRecoverableError(f"there is no secret {name!r}")

    def cut_together(self) -> Sequence[Related]:
        """Nothing is cut."""
        return ()
