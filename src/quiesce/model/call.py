"""One operation on one instance, as a provider sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, Json, StepId
from quiesce.model.operation import Operation
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Everything that a provider is told. A value: retrying sends an equal one."""

    operation: Operation
    #: full operation name as blueprints write it
    interface: str
    #: what the blueprint names as implementation, or ``<provider>.<operation>`` for what is offered
    function: str
    deployment: DeploymentName
    execution: ExecutionId
    #: the workflow's name, for scripts and messages
    workflow: str = ""
    #: whether the workflow puts instances back to a restore point
    restoring: bool = False
    step: StepId
    attempt: int
    instance: InstanceId
    #: type hierarchy and relationships; use `properties` for evaluated properties
    node: Node
    #: node properties with every intrinsic function evaluated, secrets included: never log these
    properties: Mapping[str, Json] = field(default_factory=dict)
    runtime_properties: Mapping[str, Json] = field(default_factory=dict)
    #: the operation's own inputs, evaluated, and every workflow parameter
    inputs: Mapping[str, Json] = field(default_factory=dict)
    parameters: Parameters
    #: the restore point that is made, applied or deleted
    point: BackupName | None = None
    #: whether the point is a full copy (a backup) or a snapshot
    full: bool = False
    #: DELETE because the execution did not complete: remove only what this very execution made
    undo: bool = False
    #: COPY, APPLY, DELETE: what SNAPSHOT (and COPY) answered; None when an incomplete object is removed and
    #: the answer was lost: find it by its deterministic name
    artifact: Mapping[str, Json] | None = None
    #: APPLY: whose restore point it is, when it is not the instance's own
    origin: Origin | None = None
    #: FREEZE: the node's own timer, armed before the freeze, thaws after so many seconds
    thaw_after_s: float | None = None
    #: FREEZE with such a timer: the inputs of the node's own thaw, evaluated as far as that can be done here
    thaw_inputs: Mapping[str, Json] = field(default_factory=dict)
    #: directory of the blueprint, for the scripts it names
    blueprint_dir: str = ""
    #: the instances this one is contained in, nearest first, then those it is connected to
    related: tuple[Related, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The instance, of another deployment, that has saved what is applied."""

    deployment: DeploymentName
    instance: InstanceId
    node: Node
    #: evaluated there, secrets included: never log these
    properties: Mapping[str, Json] = field(default_factory=dict)
    runtime_properties: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Related:
    """A neighbour that an operation may need to know: a volume's server, a service's host."""

    instance: InstanceId
    node: Node
    #: empty between instances that are only cut together
    relationship: str
    properties: Mapping[str, Json] = field(default_factory=dict)
    runtime_properties: Mapping[str, Json] = field(default_factory=dict)
    #: true: it depends on the call's instance; false: the call's instance depends on it
    dependent: bool = False
