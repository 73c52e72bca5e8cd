"""Reading what an operator chose for one call; the rules stand in `quiesce.model.options`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.options import Option, options_of
from quiesce.model.words import WrongValueError

O = TypeVar("O")  # noqa: E741  the options' dataclass


def read_options(kind: type[O], provider: str, call: Call, **more: Any) -> O:
    """Return the options of *call*, defaults filled in; *more* are fields that no operator gives.

    Raises:
        NonRecoverableError: for a value that is not accepted, and for an option that *provider* does not
            have; it names what is right.
    """
    declared = options_of(kind)
    _refuse_unknown(declared, provider, call.inputs)
    for option in declared:
        value = _given(option, provider, call)
        if value is not None:
            more[option.name] = value
    return kind(**more)


def read_values(kind: type[O], what: str, given: Mapping[str, Json]) -> O:
    """Return *given*, a mapping that holds options of *kind* and nothing else; *what* names it in errors.

    Raises:
        NonRecoverableError: for a value that is not accepted, and for a name that is no option.
    """
    declared = {option.name: option for option in options_of(kind)}
    unknown = sorted(given.keys() - declared.keys())
    if unknown:
        raise NonRecoverableError(
            f"{what} has no {unknown[0]!r}", hint=f"It takes {', '.join(sorted(declared))}."
        )
    return kind(**{name: _read(declared[name], f"{what}.{name}", value) for name, value in given.items()})


def _given(option: Option, provider: str, call: Call) -> Any:
    for place, values in _places(option, provider, call):
        value = values.get(place)
        if value is not None and value != "":
            return _read(option, f"{place} of {call.instance}", value)
    return None


def _places(option: Option, provider: str, call: Call) -> tuple[tuple[str, Mapping[str, Json]], ...]:
    name = option.name
    if option.per_node:
        return (name, call.properties), (name, call.runtime_properties)
    return (f"{provider}_{name}", call.inputs), (name, call.inputs), (name, call.properties)


def _read(option: Option, place: str, value: Json) -> Any:
    try:
        return option.read(value)
    except WrongValueError as error:
        raise NonRecoverableError(f"{place}: {error}", hint=option.help) from None


def _refuse_unknown(declared: tuple[Option, ...], provider: str, inputs: Mapping[str, Json]) -> None:
    prefix = f"{provider}_"
    ours = [name for name in inputs if name.startswith(prefix)]
    if not ours:
        return
    known = {f"{prefix}{option.name}" for option in declared if not option.per_node}
    for name in ours:
        if name not in known:
            raise NonRecoverableError(
                f"{provider} has no option {name.removeprefix(prefix)!r}",
                hint=f"It takes {', '.join(sorted(known)) or 'none'}.",
            )
