"""How a plan is put together: groups of steps, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from quiesce.errors import PlanError
from quiesce.model.consistency import Consistency
from quiesce.model.former_state import FormerState
from quiesce.model.ids import BackupName, InstanceId, StepId
from quiesce.model.operation import INTERFACES, SNAPSHOT_DELETE, Operation
from quiesce.model.parameters import Parameters
from quiesce.model.plan import Group, Plan, Role, Step
from quiesce.model.restore_point import RestorePoint
from quiesce.model.topology import Node, Topology
from quiesce.model.words import says_no
from quiesce.planning.binding import Binding, Bindings
from quiesce.planning.ordering import depends_on, turned


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """Everything that planning may look at."""

    workflow: str
    topology: Topology
    bindings: Bindings
    parameters: Parameters
    #: who takes part
    instances: tuple[InstanceId, ...]
    #: what is applied or removed
    points: tuple[RestorePoint, ...] = ()
    #: the name for a restore point that is taken for safety
    safety_name: BackupName | None = None
    #: what restores have replaced and is kept; None: that is not known
    former: Mapping[InstanceId, FormerState] | None = None


Edges = Mapping[InstanceId, frozenset[InstanceId]]
NO_ORDER: Edges = {}


@dataclass(slots=True)
class PlanDraft:
    """A plan in the making; `finish` gives the plan."""

    request: PlanRequest
    groups: list[Group] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def binding(self, instance: InstanceId, interface: str) -> Binding | None:
        """Return who performs *interface* on *instance*; None when the node has no such operation."""
        return self.request.bindings[self.request.topology.instances[instance].node].get(interface)

    def having(self, interface: str, where: Callable[[Node], bool] | None = None) -> tuple[InstanceId, ...]:
        """Return those taking part whose node has *interface* (and satisfies *where*)."""
        topology = self.request.topology
        return tuple(
            instance
            for instance in self.request.instances
            if self.binding(instance, interface) is not None
            and (where is None or where(topology.node_of(instance)))
        )

    def add_group(
        self,
        title: str,
        interface: str,
        instances: Iterable[InstanceId],
        *,
        order: Edges = NO_ORDER,
        suffix: str = "",
        operation: Operation | None = None,
        role: Role = Role.MAIN,
        of: Callable[[InstanceId], StepId | None] = lambda _: None,
        point: BackupName | None = None,
    ) -> None:
        """Append a group with one step for each of *instances*; *order* gives those that come first."""
        operation = operation or INTERFACES[interface]
        names = {instance: step_id(instance, interface, suffix) for instance in instances}
        for instance, name in names.items():
            binding = self.binding(instance, interface)
            if binding is None:
                continue
            first = order.get(instance, ())
            self.steps.append(
                Step(
                    id=name,
                    instance=instance,
                    node=self.request.topology.instances[instance].node,
                    operation=operation,
                    interface=interface,
                    provider=binding.provider,
                    function=binding.function,
                    group=len(self.groups),
                    after=tuple(sorted(names[other] for other in first if other in names)),
                    role=role,
                    of=of(instance),
                    point=point,
                    declared=binding.declared,
                    self_thaw=operation is Operation.FREEZE and binding.capabilities.self_thaw,
                    alone=binding.capabilities.alone,
                    beside=operation is Operation.APPLY and self._goes_beside(instance, binding),
                    ceiling=(
                        Consistency.APPLICATION
                        if operation is Operation.STOP
                        else binding.capabilities.ceiling
                    ),
                )
            )
        self.groups.append(Group(title=title, operation=operation))

    def _goes_beside(self, instance: InstanceId, binding: Binding) -> bool:
        """Tell whether *instance* is restored as another one.

        Raises:
            PlanError: when it is asked for, and what is restored is a snapshot that cannot be.
        """
        if self.request.parameters.source and binding.capabilities.elsewhere_anew:
            return True
        name = binding.capabilities.beside
        if not name:
            return False
        own = self.request.topology.node_of(instance).properties.get(name)
        given = self.request.parameters.raw.get(f"{binding.provider}_{name}", own)
        if not given or says_no(given):
            return False
        for point in self.request.points:
            if not point.full and not binding.capabilities.beside_snapshots:
                raise PlanError(
                    f"{point.name} is a snapshot, which {instance} can go back to only in its own place; "
                    f"{name} asks for another one beside it",
                    hint=f"Restore a backup, or leave {name} out.",
                )
        return True

    def add_undo(self, title: str, made: Iterable[Step]) -> None:
        """Append a group that removes what *made* left incomplete, wherever the node can delete."""
        steps = tuple(made)
        for step in steps:
            if self.binding(step.instance, SNAPSHOT_DELETE) is None:
                self.warnings.append(
                    f"{step.node} can make a restore point but not remove it: "
                    "after a failure what it made would be left behind"
                )
        of = {step.instance: step.id for step in steps}
        self.add_group(
            title,
            SNAPSHOT_DELETE,
            [step.instance for step in steps],
            suffix=".undo" if not steps or not steps[0].id.endswith(".safety") else ".safety.undo",
            role=Role.UNDO,
            of=lambda instance: of[instance],
            point=steps[0].point if steps else None,
        )

    def dependents_first(self, instances: Iterable[InstanceId]) -> Edges:
        """Return the order for freezing and suspending: a dependent before what it depends on."""
        return turned(depends_on(self.request.topology, tuple(instances)))

    def dependents_last(self, instances: Iterable[InstanceId]) -> Edges:
        """Return the order for thawing, resuming and applying."""
        return depends_on(self.request.topology, tuple(instances))

    def warn_if_idle(self, done_to_it: str, *interfaces: str) -> None:
        """Say that the plan is empty, and what is missing."""
        if not self.steps:
            self.warnings.append(f"nothing can be {done_to_it}: no chosen node has {' or '.join(interfaces)}")

    def finish(self, *, carry_on: bool = False) -> Plan:
        """Return the plan; with *carry_on*, one failing step does not stop the others."""
        return Plan(
            workflow=self.request.workflow,
            parameters=self.request.parameters,
            groups=tuple(self.groups),
            steps=tuple(self.steps),
            carry_on=carry_on,
            warnings=tuple(dict.fromkeys(self.warnings)),
        )


def step_id(instance: InstanceId, interface: str, suffix: str = "") -> StepId:
    """Return the deterministic name of a step: ``vm_ab12cd.create``, ``vm_ab12cd.lifecycle.suspend``."""
    _, group, operation = interface.rsplit(".", 2)
    short = f"lifecycle.{operation}" if group == "lifecycle" else operation
    return StepId(f"{instance}.{short}{suffix}")
