"""Reads a blueprint: the single entry point of the adapter from the DSL to our topology."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quiesce.blueprint.evaluation import Scope
from quiesce.blueprint.function_checks import FunctionCheck, Place
from quiesce.blueprint.imports import Documents, read_documents
from quiesce.blueprint.inputs import Input, input_values, read_inputs
from quiesce.blueprint.interfaces import RUN_WORKFLOW_SCRIPT, Implementations, InterfaceReader
from quiesce.blueprint.marked import MarkedMap, Value, key_mark, plain, plain_map, value_mark
from quiesce.blueprint.merging import merge
from quiesce.blueprint.model import Blueprint, Plugin, ScalingGroup, Workflow
from quiesce.blueprint.plugins import read_plugins
from quiesce.blueprint.policies import check_group_policies
from quiesce.blueprint.problems import InvalidBlueprintError, Mark, Problem, Problems
from quiesce.blueprint.properties import DataTypes
from quiesce.blueprint.scaling import Count, Group, read_groups
from quiesce.blueprint.schema import check_schema
from quiesce.blueprint.sources import ImportPolicy
from quiesce.blueprint.static import StaticAnswers, StaticEvaluation
from quiesce.blueprint.templates import (
    NodeTemplate,
    RelationshipTemplate,
    Vocabulary,
    containers,
    read_nodes,
)
from quiesce.blueprint.types import NODE, RELATIONSHIP, read_types
from quiesce.model.ids import Json, NodeId
from quiesce.model.topology import Implementation, Node, Relationship

_EVERYTHING = ImportPolicy()


def load_blueprint(
    path: str | Path, *, inputs: Mapping[str, Any] | None = None, imports: ImportPolicy = _EVERYTHING
) -> Blueprint:
    """Return what the blueprint at *path* means with *inputs* given.

    Nothing is run and, unless *imports* allows it, nothing is fetched. Functions that need a live
    deployment, secrets among them, stay as written.

    Raises:
        InvalidBlueprintError: listing every problem found.
    """
    try:
        return _loaded(Path(path), inputs or {}, imports)
    except RecursionError:
        problem = Problem(mark=Mark(str(path)), what="what it defines is nested too deep")
        raise InvalidBlueprintError([problem]) from None


def _loaded(path: Path, inputs: Mapping[str, Any], imports: ImportPolicy) -> Blueprint:
    problems = Problems()
    documents = read_documents(path, imports, problems)
    merged = merge(documents, problems)
    check_schema(merged, documents.version, problems)
    problems.stop_if_any()
    written = _read(documents, merged, problems)
    problems.stop_if_any()
    return _evaluated(written, inputs, problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A blueprint that is understood, functions not evaluated."""

    documents: Documents
    merged: MarkedMap
    data_types: DataTypes
    inputs: Mapping[str, Input]
    nodes: Mapping[str, NodeTemplate]
    groups: Mapping[str, Group]
    workflows: Mapping[str, Workflow]
    plugins: Mapping[str, Plugin]


def _read(documents: Documents, merged: MarkedMap, problems: Problems) -> _Written:
    data_types = DataTypes(merged.get("data_types"), documents.version, problems)
    data_types.check_all()
    reader = InterfaceReader(data_types, problems)
    main = Path(documents.all[0].source.name)
    plugins = read_plugins(merged.get("plugins"), problems)
    implementations = Implementations(plugins, main.parent, problems)
    vocabulary = Vocabulary(
        node_types=read_types(merged.get("node_types"), NODE, data_types, reader, problems),
        relationship_types=read_types(
            merged.get("relationships"), RELATIONSHIP, data_types, reader, problems
        ),
        data_types=data_types,
        interfaces=reader,
        implementations=implementations,
    )
    nodes = read_nodes(merged.get("node_templates"), vocabulary, problems)
    written = _Written(
        documents=documents,
        merged=merged,
        data_types=data_types,
        inputs=read_inputs(merged.get("inputs"), "input", data_types, documents.version, problems),
        nodes=nodes,
        groups=read_groups(merged, merged.get("node_templates") or {}, containers(nodes), problems),
        workflows=_workflows(merged, vocabulary, documents, problems),
        plugins=plugins,
    )
    _check_relationship_types(vocabulary)
    check_group_policies(merged, data_types, problems)
    _check_functions(written, problems)
    return written


def _check_relationship_types(vocabulary: Vocabulary) -> None:
    """Look at the operations of every relationship type, also of those that nobody uses."""
    for name, each in vocabulary.relationship_types.items():
        for interfaces in (each.source_interfaces, each.target_interfaces):
            for interface, operations in interfaces.items():
                for operation, declared in operations.items():
                    subject = f"relationship type {name!r}, operation '{interface}.{operation}'"
                    vocabulary.implementations.implementation(declared, subject)


def _workflows(
    merged: MarkedMap, vocabulary: Vocabulary, documents: Documents, problems: Problems
) -> dict[str, Workflow]:
    section = merged.get("workflows") or {}
    result: dict[str, Workflow] = {}
    for name, content in section.items():
        is_mapping = isinstance(content, MarkedMap)
        mapping = content.get("mapping") if is_mapping else content
        mark = value_mark(content, "mapping") if is_mapping else value_mark(section, name)
        subject = f"workflow {name!r}"
        if not isinstance(mapping, str) or not mapping:
            problems.add(mark, f"{subject} has no mapping")
            continue
        target = vocabulary.implementations.target(
            mapping, mark, subject, script_function=RUN_WORKFLOW_SCRIPT
        )
        parameters = content.get("parameters") if is_mapping else None
        if target is not None:
            result[name] = Workflow(
                name=name,
                plugin=target.plugin,
                function=target.function,
                script=target.script,
                parameters=read_inputs(
                    parameters, f"parameter of {subject}", vocabulary.data_types, documents.version, problems
                ),
            )
    return result


def _check_functions(written: _Written, problems: Problems) -> None:
    check = FunctionCheck(
        version=written.documents.version,
        inputs=written.inputs,
        nodes=written.merged.get("node_templates") or {},
        problems=problems,
    )
    for node in written.nodes.values():
        check.check(node.properties, Place.NODE, node.mark)
        check.check(node.count.default, Place.NODE, node.count.mark)
        _check_operations(check, node.operations, Place.NODE)
        for relationship in node.relationships:
            _check_operations(check, relationship.source_operations, Place.RELATIONSHIP)
            _check_operations(check, relationship.target_operations, Place.RELATIONSHIP)
    for group in written.groups.values():
        check.check(group.count.default, Place.ELSEWHERE, group.count.mark)
    for section in ("outputs", "capabilities", "labels", "deployment_settings"):
        check.check(written.merged.get(section), Place.ELSEWHERE, value_mark(written.merged, section))


def _check_operations(check: FunctionCheck, operations: Mapping[str, Implementation], place: Place) -> None:
    for implementation in operations.values():
        for name in implementation.inputs:
            check.check(implementation.inputs[name], place, value_mark(implementation.inputs, name))


def _evaluated(written: _Written, given: Mapping[str, Any], problems: Problems) -> Blueprint:
    values = input_values(written.inputs, given, written.data_types.noting(problems), problems)
    problems.stop_if_any()
    answers = StaticAnswers(values, {name: node.properties for name, node in written.nodes.items()})
    evaluation = StaticEvaluation(answers, problems)
    merged, documents = written.merged, written.documents
    nodes = {NodeId(name): _node(node, evaluation, problems) for name, node in written.nodes.items()}
    groups = {name: _group(group, evaluation, problems) for name, group in written.groups.items()}
    blueprint = Blueprint(
        version=documents.version,
        path=documents.all[0].source.name,
        description=str(merged.get("description") or ""),
        inputs=written.inputs,
        nodes=nodes,
        groups=groups,
        workflows=written.workflows,
        plugins=written.plugins,
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


def _group(group: Group, evaluation: StaticEvaluation, problems: Problems) -> ScalingGroup:
    instances = _count(group.count, Scope(), f"group {group.name!r}", evaluation, problems)
    return ScalingGroup(name=group.name, members=group.members, instances=instances)


def _count(count: Count, scope: Scope, subject: str, evaluation: StaticEvaluation, problems: Problems) -> int:
    value = evaluation.value(count.default, scope, count.mark)
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        problems.add(count.mark, f"{subject}: the number of instances must be 0 or more, not {value!r}")
        return 1
    return number


def _described(section: Value, evaluation: StaticEvaluation) -> dict[str, Json]:
    """Return the values of outputs or capabilities."""
    content = section if isinstance(section, MarkedMap) else {}
    return {
        name: plain(evaluation.value((content[name] or {}).get("value"), Scope(), key_mark(content, name)))
        for name in content
    }


def _labels(section: Value, evaluation: StaticEvaluation) -> dict[str, Json]:
    content = section if isinstance(section, MarkedMap) else {}
    return {
        name: plain(evaluation.value((content[name] or {}).get("values"), Scope(), key_mark(content, name)))
        for name in content
    }


def _values(
    values: Mapping[str, Value], answers: StaticAnswers, evaluation: StaticEvaluation
) -> dict[str, Json]:
    """Return the inputs: those that something asked for with the functions inside evaluated."""
    mark = Mark("inputs")
    return {
        name: plain(evaluation.arguments(value, mark) if name in answers.asked else value)
        for name, value in values.items()
    }
