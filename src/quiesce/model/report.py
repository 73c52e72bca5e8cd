"""What is reported about an execution. Text, JSON and HTML are three views of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quiesce.model.execution import Execution
from quiesce.model.ids import InstanceId, Json, StepId
from quiesce.model.operation import Operation
from quiesce.model.plan import Role
from quiesce.model.restore_point import RestorePoint


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
    #: instances by the class their cut can reach
    consistency: Mapping[InstanceId, str] = field(default_factory=dict)
    digest: str = ""
