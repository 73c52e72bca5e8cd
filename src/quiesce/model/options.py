"""What an operator may choose for a provider: declared as a dataclass, read in one way everywhere.

An option ``exclude_disks`` of the provider ``libvirt`` is given by the first of these that says anything:

1. as workflow parameter or operation input ``libvirt_exclude_disks`` (for that provider alone),
2. as workflow parameter or operation input ``exclude_disks`` (for every provider that has it),
3. as node property ``exclude_disks``.

An option that names *what* is protected (a path, an address) is a property only: nothing that is given for
one execution may point a restore at something else. It may come from a runtime property, too.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from quiesce.model.ids import Json
from quiesce.model.words import (
    one_of,
    read_flag,
    read_mapping,
    read_names,
    read_seconds,
    read_text,
    whole_number,
)

_KEY: Final = "option"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One declared option."""

    name: str
    read: Callable[[Json], Any]
    default: Any
    help: str
    #: given by the node only: it says what the node stands for
    per_node: bool = False

    @property
    def default_text(self) -> str:
        """The default as an operator would write it; empty when there is none."""
        if self.default is None or self.default in ((), {}):
            return ""
        value = self.default.value if isinstance(self.default, enum.Enum) else self.default
        return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declaration:
    help: str
    read: Callable[[Json], Any] | None
    per_node: bool


def option(
    default: Any, meaning: str, *, read: Callable[[Json], Any] | None = None, per_node: bool = False
) -> Any:
    """Declare a field of a dataclass of options; the field's type says how it is read unless *read* does.

    Understood types: ``bool``, ``int``, ``float`` (seconds), ``str``, ``tuple[str, ...]``, ``Mapping``,
    enumerations of words, and each of them ``| None``.
    """
    metadata = {_KEY: _Declaration(help=meaning, read=read, per_node=per_node)}
    return dataclasses.field(default=default, metadata=metadata)


def options_of(kind: type[Any]) -> tuple[Option, ...]:
    """Return the options that the dataclass *kind* declares, in its order."""
    declared: Any = kind
    return _options_of(declared)


@cache
def _options_of(kind: Any) -> tuple[Option, ...]:
    hints = typing.get_type_hints(kind)
    return tuple(
        Option(
            name=field.name,
            read=field.metadata[_KEY].read or _reader_of(hints[field.name]),
            default=field.default,
            help=field.metadata[_KEY].help,
            per_node=field.metadata[_KEY].per_node,
        )
        for field in dataclasses.fields(kind)
        if _KEY in field.metadata
    )


def parameter_options(kinds: Iterable[tuple[str, type[Any]]]) -> Mapping[str, tuple[Option, ...]]:
    """Return what may be given for one execution, by parameter name, for each provider and its options."""
    found: dict[str, tuple[Option, ...]] = {}
    for provider, kind in kinds:
        for each in options_of(kind):
            if not each.per_node:
                for name in (each.name, f"{provider}_{each.name}"):
                    found[name] = (*found.get(name, ()), each)
    return found


def _reader_of(hint: Any) -> Callable[[Json], Any]:
    kind = _without_none(hint)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return one_of(kind)
    if typing.get_origin(kind) is tuple:
        return read_names
    if typing.get_origin(kind) is not None:
        return read_mapping
    return _PLAIN[kind]


_PLAIN: Final[dict[Any, Callable[[Json], Any]]] = {
    bool: read_flag,
    int: whole_number(0),
    float: read_seconds,
    str: read_text,
}


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (kind,) = (part for part in typing.get_args(hint) if part is not type(None))
        return kind
    return hint
