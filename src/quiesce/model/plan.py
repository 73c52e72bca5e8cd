"""A plan is a value: the ordered steps of one workflow on one topology."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass
from operator import attrgetter

from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, InstanceId, NodeId, StepId
from quiesce.model.operation import INDEBTING, Operation
from quiesce.model.parameters import Parameters


class Role(enum.StrEnum):
    """Why a step is in the plan."""

    #: part of what was asked for; nothing new of it starts after a failure
    MAIN = "main"
    #: settles a debt: runs whenever the step it settles has begun, whatever happened since
    SETTLE = "settle"
    #: removes what an unfinished step made; runs only when the execution does not complete
    UNDO = "undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation on one instance."""

    id: StepId
    instance: InstanceId
    node: NodeId
    operation: Operation
    #: full operation name as blueprints write it; also what events show
    interface: str
    provider: str
    #: what the blueprint names as implementation, or the provider's own name for what it offers
    function: str
    #: steps of a lower group come first; index into `Plan.groups`
    group: int
    #: steps of the same group that come first
    after: tuple[StepId, ...] = ()
    role: Role = Role.MAIN
    #: for SETTLE and UNDO: the step whose beginning makes this one due
    of: StepId | None = None
    #: the restore point it makes, applies or deletes
    point: BackupName | None = None
    #: whether the blueprint brings the implementation (else the provider offers it by itself)
    declared: bool = True
    #: for FREEZE: whether the node thaws itself when nobody does
    self_thaw: bool = False
    #: for SNAPSHOT: the consistency of the cut when nothing was frozen around it
    alone: Consistency = Consistency.CRASH
    #: for FREEZE: the highest consistency of a cut within it
    ceiling: Consistency = Consistency.APPLICATION
    #: for APPLY: whether another object is made, and the one that is there stays as it is
    beside: bool = False


#: what many steps have in common: everything but their names and what they wait for
shared_of = attrgetter(*(name for name in Step.__slots__ if name not in ("id", "instance", "after", "of")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A barrier: every step of a group is over before the next group begins."""

    title: str
    operation: Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that one execution would do, in order."""

    workflow: str
    parameters: Parameters
    groups: tuple[Group, ...]
    steps: tuple[Step, ...]
    #: whether a failing step leaves the others running (the execution fails all the same)
    carry_on: bool = False
    #: what the operator should know before it runs
    warnings: tuple[str, ...] = ()

    @property
    def indebting(self) -> frozenset[StepId]:
        """The steps from whose beginning on something may be owed."""
        settled = {step.of for step in self.steps if step.role is Role.SETTLE and step.of is not None}
        return frozenset(settled | {step.id for step in self.steps if step.operation in INDEBTING})

    @property
    def digest(self) -> str:
        """A hash that changes when anything that would run changes."""
        digest = hashlib.sha256(repr((self.workflow, self.parameters, self.groups, self.carry_on)).encode())
        known: dict[tuple[object, ...], str] = {}
        for step in self.steps:
            shared = shared_of(step)
            text = known.get(shared)
            if text is None:
                text = known[shared] = repr(shared)
            digest.update(f"{(step.id, step.instance, step.after, step.of)!r}{text}".encode())
        return digest.hexdigest()
