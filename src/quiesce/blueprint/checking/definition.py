"""A blueprint that is understood: every section read and checked, functions not evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quiesce.blueprint.checking.function_places import check_functions
from quiesce.blueprint.checking.inputs import Input, read_inputs
from quiesce.blueprint.checking.interfaces import Implementations, InterfaceReader
from quiesce.blueprint.checking.plugins import Plugin, read_plugins
from quiesce.blueprint.checking.policies import check_group_policies
from quiesce.blueprint.checking.properties import DataTypes
from quiesce.blueprint.checking.scaling import DeclaredGroup, read_groups
from quiesce.blueprint.checking.templates import (
    NodeTemplate,
    Vocabulary,
    containers,
    read_nodes,
)
from quiesce.blueprint.checking.types import NODE, RELATIONSHIP, read_types
from quiesce.blueprint.checking.workflows import DeclaredWorkflow, read_workflows
from quiesce.blueprint.reading.imports import Documents
from quiesce.blueprint.reading.problems import Problems
from quiesce.blueprint.reading.source_map import SourceMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A blueprint that is understood, functions not evaluated."""

    documents: Documents
    merged: SourceMap
    data_types: DataTypes
    inputs: Mapping[str, Input]
    nodes: Mapping[str, NodeTemplate]
    groups: Mapping[str, DeclaredGroup]
    workflows: Mapping[str, DeclaredWorkflow]
    plugins: Mapping[str, Plugin]


def read_definition(documents: Documents, merged: SourceMap, problems: Problems) -> Definition:
    """Return what *merged* defines; everything that is wrong with it is added to *problems*."""
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
    definition = Definition(
        documents=documents,
        merged=merged,
        data_types=data_types,
        inputs=read_inputs(merged.get("inputs"), "input", data_types, documents.version, problems),
        nodes=nodes,
        groups=read_groups(merged, merged.get("node_templates") or {}, containers(nodes), problems),
        workflows=read_workflows(merged.get("workflows"), vocabulary, documents.version, problems),
        plugins=plugins,
    )
    _check_relationship_types(vocabulary)
    check_group_policies(merged, data_types, problems)
    check_functions(merged, nodes, definition.inputs, documents.version, problems)
    return definition


def _check_relationship_types(vocabulary: Vocabulary) -> None:
    """Look at the operations of every relationship type, also of those that nobody uses."""
    for name, each in vocabulary.relationship_types.items():
        for interfaces in (each.source_interfaces, each.target_interfaces):
            for interface, operations in interfaces.items():
                for operation, declared in operations.items():
                    subject = f"relationship type {name!r}, operation '{interface}.{operation}'"
                    vocabulary.implementations.implementation(declared, subject)
