"""What a blueprint means: the value that loading gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quiesce.blueprint.checking.inputs import Input
from quiesce.blueprint.checking.plugins import Plugin
from quiesce.blueprint.checking.workflows import DeclaredWorkflow
from quiesce.blueprint.reading.problems import Problem
from quiesce.blueprint.reading.versions import DslVersion
from quiesce.model.ids import Json, NodeId
from quiesce.model.topology import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingGroup:
    """Nodes, and groups, that scale together."""

    name: str
    members: tuple[str, ...]
    #: how many instances of the group a new deployment gets
    instances: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A blueprint with its inputs given: everything evaluated that needs no live deployment."""

    version: DslVersion
    #: the main file
    path: str
    description: str = ""
    inputs: Mapping[str, Input] = field(default_factory=dict)
    #: the value of each input
    values: Mapping[str, Json] = field(default_factory=dict)
    nodes: Mapping[NodeId, Node] = field(default_factory=dict)
    groups: Mapping[str, ScalingGroup] = field(default_factory=dict)
    workflows: Mapping[str, DeclaredWorkflow] = field(default_factory=dict)
    plugins: Mapping[str, Plugin] = field(default_factory=dict)
    outputs: Mapping[str, Json] = field(default_factory=dict)
    capabilities: Mapping[str, Json] = field(default_factory=dict)
    labels: Mapping[str, Json] = field(default_factory=dict)
    #: every file that was read, the main one first
    sources: tuple[str, ...] = ()
    #: what is newer than the DSL version that the blueprint names
    warnings: tuple[Problem, ...] = ()
