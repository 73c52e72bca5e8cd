"""Artifacts as dataclasses: written into the catalog as plain data, read back and checked."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import cattrs

from quiesce.errors import DamagedArtifactError, ResourceNotFoundError
from quiesce.model.call import Call
from quiesce.model.ids import Json

T = TypeVar("T")


def _is_json(kind: Any) -> bool:
    """Tell whether *kind* is `Json`, or made of it: its values stay as they are."""
    return not isinstance(kind, type) and "'Json'" in str(kind)


def _exactly(kind: type[Any]) -> Any:
    def read(value: object, target: Any) -> object:
        if isinstance(target, type) and issubclass(target, enum.Enum):
            return target(value)  # an enumeration of numbers or words is one of the plain types, too
        wanted = (int, float) if kind is float else kind
        if not isinstance(value, wanted) or (kind is not bool and isinstance(value, bool)):
            raise TypeError(f"{value!r} is not of type {kind.__name__}")
        return value

    return read


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook_func(_is_json, lambda value, _: value)
    converter.register_unstructure_hook_func(_is_json, lambda value: value)
    for kind in (str, int, float, bool):
        converter.register_structure_hook(kind, _exactly(kind))
    return converter


#: a provider registers hooks for values of its own here (a reference as its path)
CONVERTER: Final = _converter()


def as_artifact(value: object, *, converter: cattrs.Converter = CONVERTER) -> dict[str, Json]:
    """Return the dataclass *value* as plain data; its ``objects`` and ``size_bytes`` are shown to people."""
    plain: dict[str, Json] = converter.unstructure(value)
    return plain


def read_artifact(
    kind: type[T], artifact: Mapping[str, Json], *, converter: cattrs.Converter = CONVERTER
) -> T:
    """Return the value that `as_artifact` wrote; what is unknown is passed over, what lacks has its default.

    Raises:
        DamagedArtifactError: when it is not that.
    """
    try:
        return converter.structure(artifact, kind)
    except Exception as error:  # cattrs raises whatever a hook does
        raise DamagedArtifactError(
            f"what the catalog holds of this restore point cannot be read: {error}"
        ) from error


def artifact_of(call: Call) -> Mapping[str, Json]:
    """Return the artifact that *call* is about.

    Raises:
        ResourceNotFoundError: when it is not known (the answer that held it was lost).
    """
    if call.artifact is None:
        raise ResourceNotFoundError(f"nothing is known of what {call.point} holds for {call.instance}")
    return call.artifact
