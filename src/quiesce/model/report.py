"""What is reported about an execution. Text, JSON and HTML are three views of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quiesce.model.cut_size import CutEstimate
from quiesce.model.execution import Execution
from quiesce.model.former_state import FormerState
from quiesce.model.ids import BackupName, InstanceId, Json, StepId
from quiesce.model.operation import Operation
from quiesce.model.plan import Role
from quiesce.model.restore_point import RestorePoint, Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """The result of one step."""

    step: StepId
    instance: InstanceId
    operation: Operation
    interface: str
    role: Role
    group: int
    #: ``waiting``, ``running``, ``done``, ``failed``, ``skipped``
    state: str
    attempts: int = 0
    #: seconds after the execution's start; None: it did not begin, or has not ended
    began_s: float | None = None
    ended_s: float | None = None
    message: str = ""
    #: how far a copy or an apply is that runs, or how far it came; None: it does not say
    done_bytes: int | None = None
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionReport:
    """Everything that is known of one execution."""

    execution: Execution
    groups: tuple[str, ...]
    steps: tuple[StepReport, ...]
    #: time from the first freeze to the last thaw, in seconds; 0 when nothing was frozen
    window_s: float = 0.0
    #: how long each instance was frozen, in seconds
    frozen_s: Mapping[InstanceId, float] = field(default_factory=dict)
    #: how many instances were frozen and how many of them thawed; equal, or something is wrong
    frozen: int = 0
    thawed: int = 0
    #: instances whose thaw is still owed
    owed: tuple[InstanceId, ...] = ()
    #: instances whose start is still owed
    stopped: tuple[InstanceId, ...] = ()
    points: tuple[RestorePoint, ...] = ()
    #: statistics: figures by instance
    measurements: Mapping[InstanceId, Mapping[str, Json]] = field(default_factory=dict)
    #: what operations returned, by step
    results: Mapping[StepId, Json] = field(default_factory=dict)
    #: why a consistency is lower, or what was left out, by instance
    notes: Mapping[InstanceId, str] = field(default_factory=dict)
    #: what the plan warned of
    warnings: tuple[str, ...] = ()
    #: what to do next, in one sentence
    advice: str = ""

    @property
    def timed(self) -> tuple[StepReport, ...]:
        """The steps that have begun."""
        return tuple(step for step in self.steps if step.began_s is not None)

    @property
    def total_s(self) -> float:
        """How long it took so far, in seconds; never 0: pictures are drawn to this scale."""
        return max((step.ended_s or step.began_s or 0.0 for step in self.timed), default=0.0) or 1.0

    @property
    def window_span(self) -> tuple[float, float] | None:
        """When the frozen window began and ended, in seconds after the start; None: there was none."""
        return self.span_of(self.timed)

    @staticmethod
    def span_of(steps: Sequence[StepReport]) -> tuple[float, float] | None:
        """Return when the first of *steps* froze and the last one thawed; None: one of both is missing."""
        freezes = [s.began_s for s in steps if s.operation is Operation.FREEZE and s.began_s is not None]
        thaws = [s.ended_s for s in steps if s.operation is Operation.THAW and s.ended_s is not None]
        return (min(freezes), max(thaws)) if freezes and thaws else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is written to one place beside what is there, and how much room there is."""

    instances: tuple[InstanceId, ...]
    needed_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePreview:
    """What is to be known before a restore point takes the place of what runs."""

    point: BackupName
    made_at: float
    #: how old it is, in seconds: whatever was written since is replaced
    age_s: float
    #: restore points that are younger, oldest first
    newer: tuple[BackupName, ...] = ()
    #: what its last check found, and when
    trust: Trust
    checked_at: float | None = None
    #: how long putting everything back lasted the last time, in seconds; None: that is not known
    expected_s: float | None = None
    rooms: tuple[Room, ...] = ()
    #: who can go back by an undo, or by a restore point that is taken first; and who cannot
    undoable: tuple[InstanceId, ...] = ()
    safe: tuple[InstanceId, ...] = ()
    no_way_back: tuple[InstanceId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why it would be refused before anything is touched."""

    code: str
    message: str
    hint: str = ""
    exit_status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """A plan for people: what would run, and how long things would be frozen."""

    deployment: str
    workflow: str
    parameters: Mapping[str, Json]
    groups: tuple[tuple[str, tuple[StepReport, ...]], ...]
    warnings: tuple[str, ...]
    #: in seconds
    predicted_window_s: float
    max_freeze_s: float
    #: who takes part in that window and was never measured here: what is usual, or a careful guess
    unmeasured: tuple[InstanceId, ...] = ()
    #: cuts within it that grow with what there is, by instance
    cuts: Mapping[InstanceId, CutEstimate] = field(default_factory=dict)
    #: instances by the class their cut can reach
    consistency: Mapping[InstanceId, str] = field(default_factory=dict)
    digest: str = ""
    #: of a plan that puts a restore point in place
    restore: RestorePreview | None = None
    #: the programs that use what is to be replaced, by instance
    users: Mapping[InstanceId, Sequence[str]] = field(default_factory=dict)
    #: files that the restore point names and that are not those of now, by instance
    differences: Mapping[InstanceId, Sequence[str]] = field(default_factory=dict)
    #: what the restored ones will not be or have that the saved ones were or had, by instance
    lost: Mapping[InstanceId, Sequence[str]] = field(default_factory=dict)
    #: what is kept of earlier restores, by instance
    former: Mapping[InstanceId, FormerState] = field(default_factory=dict)
    #: None: it would run
    refused: Refusal | None = None
