"""Every place of a blueprint where a function may stand, and the check of the functions there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from quiesce.blueprint.checking.function_checks import FunctionCheck, FunctionContext
from quiesce.blueprint.checking.inputs import Input
from quiesce.blueprint.checking.schema import BLUEPRINT
from quiesce.blueprint.checking.shapes import open_values
from quiesce.blueprint.checking.templates import NodeTemplate
from quiesce.blueprint.reading.problems import Position, Problems
from quiesce.blueprint.reading.source_map import SourceMap
from quiesce.blueprint.reading.versions import DslVersion
from quiesce.model.topology import Implementation

#: free texts and building blocks for YAML aliases; they mean nothing where they stand
_NO_FUNCTIONS: Final = frozenset({"metadata", "dsl_definitions"})
#: what a blueprint does not use of them does it no harm
_TYPES: Final = frozenset({"node_types", "relationships", "data_types", "policy_types", "policy_triggers"})
_CONTEXTS: Final[Mapping[str, FunctionContext]] = {
    "node_templates": FunctionContext.NODE,
    "outputs": FunctionContext.ELSEWHERE,
    "capabilities": FunctionContext.ELSEWHERE,
    "labels": FunctionContext.ELSEWHERE,
    "deployment_settings": FunctionContext.ELSEWHERE,
    "policies": FunctionContext.ELSEWHERE,
}


def check_functions(
    merged: SourceMap,
    nodes: Mapping[str, NodeTemplate],
    inputs: Mapping[str, Input],
    version: DslVersion,
    problems: Problems,
) -> None:
    """Add what is wrong with any function of a blueprint.

    What *nodes* have from their types is checked with them; in types that nothing uses, it is a warning.
    """
    templates = merged.get("node_templates") or {}
    check = FunctionCheck(version=version, inputs=inputs, nodes=templates, problems=problems)
    unused = Problems()
    check_unused = FunctionCheck(version=version, inputs=inputs, nodes=templates, problems=unused)
    for each in open_values(merged, BLUEPRINT, merged.position):
        section = each.path[0]
        if section not in _NO_FUNCTIONS:
            chosen = check_unused if section in _TYPES else check
            chosen.check(each.value, _context(each.path), each.position)
    for node in nodes.values():
        _check_node(node, check)
    for problem in unused.found:
        problems.warn(problem.position, problem.what, problem.remedy)


def check_given(
    given: Mapping[str, Any],
    inputs: Mapping[str, Input],
    nodes: Mapping[str, NodeTemplate],
    version: DslVersion,
    problems: Problems,
) -> None:
    """Add what is wrong with any function in the values *given* for inputs."""
    check = FunctionCheck(version=version, inputs=inputs, nodes=nodes, problems=problems)
    for value in given.values():
        check.check(value, FunctionContext.ANY, Position("inputs"))


def _context(path: tuple[str, ...]) -> FunctionContext:
    if path[0] == "node_templates" and path[2:3] == ("relationships",):
        return FunctionContext.RELATIONSHIP
    return _CONTEXTS.get(path[0], FunctionContext.ANY)


def _check_node(node: NodeTemplate, check: FunctionCheck) -> None:
    check.entries(node.properties, FunctionContext.NODE)
    _check_operations(node.operations, FunctionContext.NODE, check)
    for relationship in node.relationships:
        check.entries(relationship.properties, FunctionContext.RELATIONSHIP)
        _check_operations(relationship.source_operations, FunctionContext.RELATIONSHIP, check)
        _check_operations(relationship.target_operations, FunctionContext.RELATIONSHIP, check)


def _check_operations(
    operations: Mapping[str, Implementation], context: FunctionContext, check: FunctionCheck
) -> None:
    for implementation in operations.values():
        check.entries(implementation.inputs, context)
