"""Reads a blueprint: the single entry point of the adapter from the DSL to our topology."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quiesce.blueprint.checking.definition import Definition, read_definition
from quiesce.blueprint.checking.function_places import check_given
from quiesce.blueprint.checking.inputs import input_values
from quiesce.blueprint.checking.scaling import DeclaredGroup, InstanceCount
from quiesce.blueprint.checking.schema import check_schema
from quiesce.blueprint.checking.templates import (
    NodeTemplate,
    RelationshipTemplate,
)
from quiesce.blueprint.evaluating.evaluator import Scope
from quiesce.blueprint.evaluating.static import StaticAnswers, StaticEvaluation
from quiesce.blueprint.model import Blueprint, ScalingGroup
from quiesce.blueprint.reading.imports import read_documents
from quiesce.blueprint.reading.merging import merge
from quiesce.blueprint.reading.problems import InvalidBlueprintError, Position, Problem, Problems
from quiesce.blueprint.reading.source_map import SourceMap, Value, key_position, plain, plain_map
from quiesce.blueprint.reading.sources import ImportPolicy
from quiesce.model.ids import Json, NodeId
from quiesce.model.topology import Implementation, Node, Relationship

_EVERYTHING = ImportPolicy()


def load_blueprint(
    path: str | Path, *, inputs: Mapping[str, Any] | None = None, imports: ImportPolicy = _EVERYTHING
) -> Blueprint:
    """Return what the blueprint at *path* means with *inputs* given.

    Nothing is run and, unless *imports* allows it, nothing is fetched. Functions that need a live
    deployment, secrets among them, stay as definition.

    Raises:
        InvalidBlueprintError: listing every problem found.
    """
    try:
        return _loaded(Path(path), inputs or {}, imports)
    except RecursionError:
        problem = Problem(position=Position(str(path)), what="what it defines is nested too deep")
        raise InvalidBlueprintError([problem]) from None


def _loaded(path: Path, inputs: Mapping[str, Any], imports: ImportPolicy) -> Blueprint:
    problems = Problems()
    documents = read_documents(path, imports, problems)
    merged = merge(documents, problems)
    check_schema(merged, documents.version, problems)
    problems.stop_if_any()
    definition = read_definition(documents, merged, problems)
    problems.stop_if_any()
    return _evaluated(definition, inputs, problems)


def _evaluated(definition: Definition, given: Mapping[str, Any], problems: Problems) -> Blueprint:
    check_given(given, definition.inputs, definition.nodes, definition.documents.version, problems)
    values = input_values(definition.inputs, given, definition.data_types.reporting_to(problems), problems)
    problems.stop_if_any()
    answers = StaticAnswers(values, {name: node.properties for name, node in definition.nodes.items()})
    evaluation = StaticEvaluation(answers, problems)
    merged, documents = definition.merged, definition.documents
    nodes = {NodeId(name): _node(node, evaluation, problems) for name, node in definition.nodes.items()}
    groups = {name: _group(group, evaluation, problems) for name, group in definition.groups.items()}
    blueprint = Blueprint(
        version=documents.version,
        path=documents.all[0].source.name,
        description=str(merged.get("description") or ""),
        inputs=definition.inputs,
        nodes=nodes,
        groups=groups,
        workflows=definition.workflows,
        plugins=definition.plugins,
        outputs=_described(merged.get("outputs"), evaluation),
        capabilities=_described(merged.get("capabilities"), evaluation),
        labels=_labels(merged.get("labels"), evaluation),
        values=_values(values, answers, evaluation),
        sources=tuple(dict.fromkeys(each.source.name for each in documents.all)),
        warnings=tuple(dict.fromkeys(problems.warnings)),
    )
    problems.stop_if_any()
    return blueprint


def _node(template: NodeTemplate, evaluation: StaticEvaluation, problems: Problems) -> Node:
    scope = Scope(itself=template.id)
    return Node(
        id=NodeId(template.id),
        type=template.type.name,
        type_hierarchy=template.type.hierarchy,
        properties=plain_map(evaluation.mapping(template.properties, scope)),
        relationships=tuple(_relationship(template.id, each, evaluation) for each in template.relationships),
        operations=_operations(template.operations, scope, evaluation),
        instances=_count(template.count, scope, f"node {template.id!r}", evaluation, problems),
    )


def _operations(
    operations: Mapping[str, Implementation], scope: Scope, evaluation: StaticEvaluation
) -> dict[str, Implementation]:
    return {
        name: Implementation(
            plugin=each.plugin,
            function=each.function,
            inputs=plain_map(evaluation.mapping(each.inputs, scope)),
            executor=each.executor,
            max_retries=each.max_retries,
            retry_interval_s=each.retry_interval_s,
            timeout_s=each.timeout_s,
        )
        for name, each in operations.items()
    }


def _relationship(source: str, template: RelationshipTemplate, evaluation: StaticEvaluation) -> Relationship:
    scope = Scope(source=source, target=template.target)
    _operations(template.source_operations, scope, evaluation)
    _operations(template.target_operations, scope, evaluation)
    return Relationship(
        target=NodeId(template.target),
        type=template.type.name,
        type_hierarchy=template.type.hierarchy,
        properties=plain_map(evaluation.mapping(template.properties, scope)),
    )


def _group(group: DeclaredGroup, evaluation: StaticEvaluation, problems: Problems) -> ScalingGroup:
    instances = _count(group.count, Scope(), f"group {group.name!r}", evaluation, problems)
    return ScalingGroup(name=group.name, members=group.members, instances=instances)


def _count(
    count: InstanceCount, scope: Scope, subject: str, evaluation: StaticEvaluation, problems: Problems
) -> int:
    value = evaluation.value(count.default, scope, count.position)
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        problems.add(count.position, f"{subject}: the number of instances must be 0 or more, not {value!r}")
        return 1
    return number


def _described(section: Value, evaluation: StaticEvaluation) -> dict[str, Json]:
    """Return the values of outputs or capabilities."""
    content = section if isinstance(section, SourceMap) else {}
    return {
        name: plain(
            evaluation.value((content[name] or {}).get("value"), Scope(), key_position(content, name))
        )
        for name in content
    }


def _labels(section: Value, evaluation: StaticEvaluation) -> dict[str, Json]:
    content = section if isinstance(section, SourceMap) else {}
    return {
        name: plain(
            evaluation.value((content[name] or {}).get("values"), Scope(), key_position(content, name))
        )
        for name in content
    }


def _values(
    values: Mapping[str, Value], answers: StaticAnswers, evaluation: StaticEvaluation
) -> dict[str, Json]:
    """Return the inputs: those that something asked for with the functions inside evaluated."""
    position = Position("inputs")
    return {
        name: plain(evaluation.arguments(value, position) if name in answers.asked else value)
        for name, value in values.items()
    }
