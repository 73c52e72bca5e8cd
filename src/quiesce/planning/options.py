"""Options of providers, looked at before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from quiesce.errors import PlanError
from quiesce.model.capabilities import Description
from quiesce.model.ids import Json
from quiesce.model.options import Option, options_of, parameter_options
from quiesce.model.topology import Node
from quiesce.model.words import WrongValueError
from quiesce.planning.binding import Bindings


def declared_options(descriptions: Iterable[Description]) -> Mapping[str, Sequence[Option]]:
    """Return what may be given for one execution besides the workflow's own parameters, by name."""
    return parameter_options((each.name, each.options) for each in descriptions if each.options is not None)


def check_node_options(
    nodes: Iterable[Node], bindings: Bindings, descriptions: Sequence[Description]
) -> None:
    """Read the options among the nodes' properties as their providers will.

    Functions that only a live deployment can evaluate are left to the provider.

    Raises:
        PlanError: naming every node and option with a value that is not accepted.
    """
    kinds = {each.name: each.options for each in descriptions if each.options is not None}
    wrong = [
        f"{node.id}.{option.name}: {problem}"
        for node in nodes
        for provider in sorted({binding.provider for binding in bindings[node.id].values()} & kinds.keys())
        for option in options_of(kinds[provider])
        if (problem := _problem(option, node.properties.get(option.name)))
    ]
    if wrong:
        raise PlanError("; ".join(wrong), hint="Correct these properties in the blueprint.")


def idle_options(
    given: Iterable[str],
    providers: Iterable[str],
    descriptions: Iterable[Description],
    *,
    own: Collection[str],
) -> Sequence[str]:
    """Return a warning for each option among *given* that none of the *providers* taking part has.

    The workflow's *own* parameters mean something to every provider.
    """
    described = list(descriptions)
    taking_part = frozenset(providers)
    known = declared_options(described)
    used = declared_options(each for each in described if each.name in taking_part)
    return [
        f"{name} has no effect: no node that takes part has this option"
        for name in given
        if name in known and name not in used and name not in own
    ]


def _problem(option: Option, value: Json) -> str:
    if value is None or value == "" or isinstance(value, dict):
        return ""
    try:
        option.read(value)
    except WrongValueError as error:
        return str(error)
    return ""
