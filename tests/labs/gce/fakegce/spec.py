"""Google's discovery document of Compute Engine as router and judge of requests and answers."""

from __future__ import annotations

import base64
import binascii
import importlib.resources
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

GLOBAL_QUERY = frozenset(
    {
        "alt",
        "$alt",
        "key",
        "fields",
        "prettyPrint",
        "quotaUser",
        "userIp",
        "access_token",
        "oauth_token",
        "callback",
        "uploadType",
        "upload_protocol",
        "$.xgafv",
        "$fields",
    }
)
INTEGERS = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}


class ApiError(Exception):
    """An answer that is an error, in the shape in which Google sends it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message

    def body(self) -> dict[str, Any]:
        entry = {"message": self.message, "domain": "global", "reason": self.reason}
        return {"error": {"code": self.status, "message": self.message, "errors": [entry]}}


class Spec:
    """Which methods there are, and what their requests and answers may look like."""

    def __init__(self, name: str = "compute.v1") -> None:
        folder = importlib.resources.files("googleapiclient") / "discovery_cache" / "documents"
        self.document = json.loads((folder / f"{name}.json").read_text())
        self.schemas = self.document["schemas"]
        self.base = "/" + self.document["servicePath"]
        self.routes = list(_routes(self.document["resources"]))

    def route(self, verb: str, path: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the method that answers, and what its path holds."""
        if not path.startswith(self.base):
            raise ApiError(404, "notFound", f"no such service path {path}")
        hits = [(v, m, hit) for v, rx, m in self.routes if (hit := rx.match(path[len(self.base) :]))]
        for method_verb, method, hit in hits:
            if method_verb == verb:
                return method, {key: unquote(value) for key, value in hit.groupdict().items()}
        if hits:
            raise ApiError(405, "methodNotAllowed", f"no method for {verb} {path}")
        raise ApiError(404, "notFound", f"no method for {verb} {path}")

    def arguments(
        self, method: Mapping[str, Any], path: Mapping[str, str], query: Iterable[tuple[str, str]]
    ) -> dict[str, Any]:
        """Return path and query parameters, converted; refuse unknown and malformed ones."""
        known, given = method.get("parameters", {}), dict(path)
        for key, value in query:
            if key in GLOBAL_QUERY:
                continue
            if known.get(key, {}).get("location") != "query":
                raise ApiError(400, "badRequest", f'Invalid JSON payload received. Unknown name "{key}"')
            given[key] = value
        for key, schema in known.items():
            if key in given:
                given[key] = _converted(key, given[key], schema)
            elif schema.get("required"):
                raise ApiError(400, "required", f"Required parameter: {key}")
        return given

    def problems(self, schema: Mapping[str, Any], value: Any, where: str = "", method: str = "") -> list[str]:
        """Return what is wrong with *value*; *method* switches its required fields on."""
        if "$ref" in schema:
            schema = self.schemas[schema["$ref"]]
        check = getattr(self, f"_check_{schema.get('type', 'any')}", None)
        return check(schema, value, where, method) if check else []

    def _check_object(self, schema: Mapping[str, Any], value: Any, where: str, method: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{where}: expected object, got {value!r}"]
        fields, other = schema.get("properties", {}), schema.get("additionalProperties")
        bad = []
        for key, entry in value.items():
            if key in fields or other is not None:
                bad += self.problems(fields.get(key, other), entry, f"{where}.{key}")
            else:
                bad.append(f'{where}: Unknown name "{key}": Cannot find field.')
        for key, field in fields.items():
            needed = field.get("annotations", {}).get("required", [])
            if method in needed and value.get(key) in (None, ""):
                bad.append(f"{where}.{key}: required")
        return bad

    def _check_array(self, schema: Mapping[str, Any], value: Any, where: str, method: str) -> list[str]:
        if not isinstance(value, list):
            return [f"{where}: expected array, got {value!r}"]
        return [
            bad
            for index, entry in enumerate(value)
            for bad in self.problems(schema["items"], entry, f"{where}[{index}]")
        ]

    def _check_string(self, schema: Mapping[str, Any], value: Any, where: str, method: str) -> list[str]:
        if not isinstance(value, str):
            return [f"{where}: expected string, got {value!r}"]
        bad = _format_problems(schema.get("format", ""), value, where)
        if "enum" in schema and value not in schema["enum"]:
            bad.append(f"{where}: {value!r} is none of {schema['enum']}")
        if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
            bad.append(f"{where}: {value!r} does not match {schema['pattern']}")
        return bad

    def _check_integer(self, schema: Mapping[str, Any], value: Any, where: str, method: str) -> list[str]:
        low, high = INTEGERS.get(schema.get("format", ""), (-(2**63), 2**64))
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return [] if fits else [f"{where}: not {schema.get('format', 'integer')}: {value!r}"]

    def _check_boolean(self, schema: Mapping[str, Any], value: Any, where: str, method: str) -> list[str]:
        return [] if isinstance(value, bool) else [f"{where}: expected boolean, got {value!r}"]

    def _check_number(self, schema: Mapping[str, Any], value: Any, where: str, method: str) -> list[str]:
        return [] if isinstance(value, int | float) else [f"{where}: expected number, got {value!r}"]


def _routes(resources: Mapping[str, Any]) -> Iterable[tuple[str, re.Pattern[str], dict[str, Any]]]:
    for resource in resources.values():
        for method in resource.get("methods", {}).values():
            pattern = re.sub(r"\{\+?(\w+)\}", r"(?P<\1>[^/]+)", method["path"])
            yield method["httpMethod"], re.compile(pattern + r"\Z"), method
        yield from _routes(resource.get("resources", {}))


def _converted(key: str, value: str, schema: Mapping[str, Any]) -> Any:
    if schema["type"] == "boolean":
        if value.lower() not in ("true", "false"):
            raise ApiError(400, "invalidParameter", f"Invalid boolean value: '{value}' for {key}")
        return value.lower() == "true"
    if schema["type"] == "integer":
        if not re.fullmatch(r"-?\d+", value):
            raise ApiError(400, "invalidParameter", f"Invalid value '{value}' for {key}")
        return int(value)
    if schema.get("pattern") and not re.fullmatch(schema["pattern"], value):
        text = f"Invalid value '{value}'. Values must match the following regular expression: "
        raise ApiError(400, "invalidParameter", f"{text}'{schema['pattern']}'")
    return value


def _format_problems(form: str, value: str, where: str) -> list[str]:
    if form in INTEGERS:
        low, high = INTEGERS[form]
        fits = re.fullmatch(r"-?\d+", value) and low <= int(value) <= high
        return [] if fits else [f"{where}: not {form}: {value!r}"]
    if form == "byte":
        try:
            base64.urlsafe_b64decode(value)
        except (binascii.Error, ValueError):
            return [f"{where}: not base64: {value!r}"]
    return []
