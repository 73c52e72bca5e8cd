"""Inputs: what a blueprint declares, and the values that a deployment gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from quiesce.blueprint.checking.constraints import Constraint, applies, read_constraints
from quiesce.blueprint.checking.properties import MISSING, DataTypes, Property, Schema, ValueSubject
from quiesce.blueprint.evaluating.evaluator import Evaluator, Scope
from quiesce.blueprint.reading.functions import function_of
from quiesce.blueprint.reading.primitive_types import KNOWN_TYPES, matches_type
from quiesce.blueprint.reading.problems import NOWHERE, FunctionError, Position, Problems, suggestion
from quiesce.blueprint.reading.source_map import (
    SourceMap,
    Value,
    empty_map,
    key_position,
    shown,
    value_position,
)
from quiesce.blueprint.reading.versions import DslVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One declared input of a blueprint or parameter of a workflow."""

    name: str
    type: str | None = None
    item_type: str | None = None
    #: MISSING when there is none
    default: Value = MISSING
    required: bool = True
    hidden: bool = False
    description: str = ""
    display_label: str = ""
    constraints: tuple[Constraint, ...] = ()
    position: Position = NOWHERE

    @property
    def has_default(self) -> bool:
        """Tell whether a deployment may leave this input out."""
        return self.default is not MISSING and self.default is not None


def input_schema(section: Value, subject: str, data_types: DataTypes, problems: Problems) -> Schema:
    """Return the inputs that *section* declares as a schema: type and default only."""
    if not isinstance(section, SourceMap):
        return {}
    return {name: _property(section, name, subject, data_types, problems) for name in section}


def _property(
    section: SourceMap, name: str, subject: str, data_types: DataTypes, problems: Problems
) -> Property:
    content = (
        section[name] if isinstance(section[name], SourceMap) else empty_map(key_position(section, name))
    )
    kind = data_types.checked_type(content, "type")
    item = content.get("item_type")
    if item is not None and (kind != "list" or item not in KNOWN_TYPES):
        what = f"{subject} {name!r}: 'item_type' goes with 'type: list' and a type of the DSL, not {item!r}"
        problems.add(value_position(content, "item_type"), what)
    default: Value = None if "default" in content else MISSING
    if content.get("default") is not None:
        position = value_position(content, "default")
        default = data_types.conform(
            content["default"], kind, ValueSubject(name=f"default of {subject} {name!r}"), position
        )
    return Property(type=kind, default=default, position=key_position(section, name))


def read_inputs(
    section: Value, subject: str, data_types: DataTypes, version: DslVersion, problems: Problems
) -> dict[str, Input]:
    """Return the inputs of a blueprint, or the parameters of a workflow, that *section* declares."""
    schema = input_schema(section, subject, data_types, problems)
    result: dict[str, Input] = {}
    for name, declared in schema.items():
        content = section[name] if isinstance(section[name], SourceMap) else empty_map(declared.position)
        result[name] = Input(
            name=name,
            type=declared.type,
            item_type=content.get("item_type"),
            default=declared.default,
            required=content.get("required") is not False,
            hidden=bool(content.get("hidden")),
            description=str(content.get("description") or ""),
            display_label=str(content.get("display_label") or ""),
            constraints=read_constraints(content.get("constraints"), version, problems),
            position=declared.position,
        )
        _check(result[name], content, subject, problems)
    return result


def _check(declared: Input, content: SourceMap, subject: str, problems: Problems) -> None:
    name = f"{subject} {declared.name!r}"
    if declared.required and declared.hidden and declared.default is MISSING:
        problems.add(declared.position, f"{name} is hidden and required, so it needs a default")
    if content.get("display") and declared.type != "textarea":
        problems.add(value_position(content, "display"), f"{name}: 'display' goes with the type 'textarea'")
    if declared.has_default:
        _check_value(declared, declared.default, name, value_position(content, "default"), problems)


class _NoAnswers:
    """Answers for constraints: they can only use functions of their own arguments."""

    def answer(self, function: str, arguments: Value, scope: Scope, evaluator: Evaluator) -> Any:  # noqa: ARG002
        raise FunctionError(f"{function} cannot be used in a constraint")


def input_values(
    declared: Mapping[str, Input], given: Mapping[str, Value], data_types: DataTypes, problems: Problems
) -> dict[str, Value]:
    """Return the value of every input: the one *given*, or its default.

    What is missing, unknown, of the wrong type or against a constraint is added to *problems*.
    """
    for name in given:
        if name not in declared:
            remedy = suggestion(name, declared, listed="inputs are")
            problems.add(Position("inputs"), f"there is no input {name!r}", remedy)
    result: dict[str, Value] = {}
    for name, each in declared.items():
        value = _value(each, given, data_types, problems)
        if value is not MISSING:
            result[name] = value
    return result


def _value(declared: Input, given: Mapping[str, Value], data_types: DataTypes, problems: Problems) -> Value:
    name = f"input {declared.name!r}"
    position = Position("inputs")
    if declared.name in given:
        value = given[declared.name]
    elif declared.has_default:
        value, position = declared.default, declared.position
    else:
        return _absent(declared, data_types, problems)
    fine = _check_value(declared, value, name, position, problems)
    return data_types.conform(value, declared.type, ValueSubject(name=name), position) if fine else value


def _absent(declared: Input, data_types: DataTypes, problems: Problems) -> Value:
    """Return what an input is when nobody gives it: what its type makes of nothing, or null."""
    if declared.type is not None and declared.type not in KNOWN_TYPES:
        own = Problems()
        subject = ValueSubject(name=f"input {declared.name!r}")
        made = data_types.reporting_to(own).conform(
            empty_map(declared.position), declared.type, subject, declared.position
        )
        if made and not own.found:
            return made
    if not declared.required:
        return None
    about = f" ({declared.description.strip()})" if declared.description else ""
    problems.add(
        declared.position,
        f"the required input {declared.name!r} is missing{about}",
        f"give it: -i {declared.name}=VALUE",
    )
    return MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A value, or an item of a list, that is to meet constraints."""

    name: str
    value: Value
    type: str | None
    position: Position


def _check_value(declared: Input, value: Value, name: str, position: Position, problems: Problems) -> bool:
    """Tell whether items and constraints of an input are met, noting it when they are not."""
    before = len(problems.found)
    whole = _Candidate(name=name, value=value, type=declared.type, position=position)
    for candidate in _items(whole, declared.item_type):
        if candidate is not whole and not matches_type(candidate.value, candidate.type or ""):
            what = f"{candidate.name} must be of type {candidate.type!r}, not {shown(candidate.value)}"
            problems.add(position, what)
        _check_constraints(declared, candidate, problems)
    return len(problems.found) == before


def _items(whole: _Candidate, item_type: str | None) -> list[_Candidate]:
    """Return what constraints apply to: the items of a list whose items have a type, else the value."""
    if whole.type != "list" or not item_type or not isinstance(whole.value, list):
        return [whole]
    return [
        replace(whole, name=f"{whole.name}[{index}]", value=item, type=item_type)
        for index, item in enumerate(whole.value)
    ]


def _check_constraints(declared: Input, candidate: _Candidate, problems: Problems) -> None:
    if declared.constraints and function_of(candidate.value) is not None:
        what = f"{candidate.name} has constraints, so its value cannot be a function"
        problems.add(candidate.position, what)
        return
    for constraint in declared.constraints:
        if not applies(constraint, candidate.type):
            continue
        try:
            argument = Evaluator(_NoAnswers()).value(constraint.argument, Scope())
        except FunctionError as error:
            problems.add(candidate.position, f"{candidate.name}: constraint {constraint.name!r}: {error}")
            continue
        violation = replace(constraint, argument=argument).violation(candidate.value)
        if violation:
            problems.add(candidate.position, f"{candidate.name} {violation}")
