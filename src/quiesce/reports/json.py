"""JSON, a stable interface: fields are only added, and ``schema`` grows when one changes its meaning."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from typing import Any, Final

from quiesce.errors import QuiesceError
from quiesce.model.consistency import Consistency
from quiesce.model.restore_point import RestorePoint
from quiesce.reports.escaping import escaped_json

SCHEMA: Final = 1


def render_json(kind: str, value: object) -> str:
    """Return *value* under the key *kind*, with the schema's number."""
    return escaped_json(json.dumps({"schema": SCHEMA, kind: plain(value)}, indent=2, ensure_ascii=False))


def render_json_line(kind: str, value: object) -> str:
    """Return the same on one line, for streams."""
    return escaped_json(json.dumps({"schema": SCHEMA, kind: plain(value)}, ensure_ascii=False))


def render_error(error: QuiesceError) -> str:
    """Return what went wrong, for programs."""
    return render_json(
        "error",
        {
            "code": error.code,
            "message": str(error),
            "hint": error.hint,
            "exit_status": int(error.exit_status),
        },
    )


def plain(value: object) -> Any:
    """Return model values as plain data: dataclasses as objects, classes and states as words."""
    if isinstance(value, enum.Enum):
        return value.label if isinstance(value, Consistency) else value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = {"trust": value.trust} if isinstance(value, RestorePoint) else {}
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)} | told
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value
