"""Records, plans, executions and restore points of any shape, built by Hypothesis."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from quiesce.model.consistency import Consistency
from quiesce.model.execution import Execution, ExecutionState
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, NodeId, StepId
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.model.plan import Group, Plan, Role, Step
from quiesce.model.records import (
    Aborted,
    Begun,
    Done,
    Ended,
    Ending,
    Failed,
    Level,
    Logged,
    Progressed,
    Record,
    Started,
)
from quiesce.model.restore_point import Artifact, PointState, Proof, RestorePoint

relaxed = settings(max_examples=60, suppress_health_check=list(HealthCheck))

texts = st.text(max_size=8)
times = st.floats(0, 4e9)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
objects = st.dictionaries(texts, jsons, max_size=3)
classes = st.sampled_from(Consistency)
operations = st.sampled_from(Operation)
step_ids = texts.map(StepId)
instances = texts.map(InstanceId)
points = texts.map(BackupName)

outcomes = st.builds(
    Outcome,
    artifact=st.none() | objects,
    consistency=st.none() | classes,
    measurements=st.none() | objects,
    note=texts,
    result=jsons,
)
records: st.SearchStrategy[Record] = st.one_of(
    st.builds(Started, at=times, tick=times, plan_digest=texts, turn=st.integers(1, 9), by=texts),
    st.builds(Begun, at=times, tick=times, step=step_ids, attempt=st.integers(1, 9)),
    st.builds(
        Done,
        at=times,
        tick=times,
        step=step_ids,
        outcome=outcomes,
        began=times,
        ended=times,
        attempt=st.integers(1, 9),
    ),
    st.builds(
        Failed,
        at=times,
        tick=times,
        step=step_ids,
        code=texts,
        message=texts,
        hint=texts,
        retry_in_s=st.none() | times,
        attempt=st.integers(1, 9),
        abandoned=st.booleans(),
        passed_over=st.booleans(),
    ),
    st.builds(
        Logged,
        at=times,
        tick=times,
        level=st.sampled_from(Level),
        message=texts,
        step=st.none() | step_ids,
    ),
    st.builds(
        Progressed,
        at=times,
        tick=times,
        step=step_ids,
        done_bytes=st.integers(0, 2**60),
        total_bytes=st.none() | st.integers(0, 2**60),
        attempt=st.integers(1, 9),
    ),
    st.builds(Aborted, at=times, tick=times, code=texts, message=texts, hint=texts, cancelled=st.booleans()),
    st.builds(Ended, at=times, tick=times, ending=st.sampled_from(Ending), message=texts),
)
names = st.lists(texts, max_size=2).map(tuple)
parameters = st.builds(
    Parameters,
    snapshot_name=st.none() | points,
    snapshot_incremental=st.booleans(),
    include_instances=names,
    max_freeze_s=times,
    min_consistency=classes,
    parallel=st.integers(1, 99),
    operation_timeout_s=st.none() | times,
    safety_snapshot=st.none() | st.booleans(),
    raw=objects,
)
steps = st.builds(
    Step,
    id=step_ids,
    instance=instances,
    node=texts.map(NodeId),
    operation=operations,
    interface=texts,
    provider=texts,
    function=texts,
    group=st.integers(0, 6),
    after=st.lists(step_ids, max_size=2).map(tuple),
    role=st.sampled_from(Role),
    of=st.none() | step_ids,
    point=st.none() | points,
    declared=st.booleans(),
    self_thaw=st.booleans(),
    alone=classes,
)
plans = st.builds(
    Plan,
    workflow=texts,
    parameters=parameters,
    groups=st.lists(st.builds(Group, title=texts, operation=operations), max_size=3).map(tuple),
    steps=st.lists(steps, max_size=3).map(tuple),
    carry_on=st.booleans(),
    warnings=names,
)
executions = st.builds(
    Execution,
    id=texts.map(ExecutionId),
    deployment=texts.map(DeploymentName),
    workflow=texts,
    parameters=objects,
    created_at=times,
    state=st.sampled_from(ExecutionState),
    ended_at=st.none() | times,
    message=texts,
    owes=st.booleans(),
    points=st.lists(points, max_size=2).map(tuple),
)
artifacts = st.builds(
    Artifact,
    instance=instances,
    provider=texts,
    function=texts,
    state=st.sampled_from(PointState),
    consistency=classes,
    content=objects,
    note=texts,
    cut_at=st.none() | times,
    cut_s=st.none() | times,
    frozen_s=st.none() | times,
)
proofs = st.builds(Proof, at=times, kind=texts, passed=st.booleans(), detail=texts)
restore_points = st.builds(
    RestorePoint,
    deployment=texts.map(DeploymentName),
    name=points,
    full=st.booleans(),
    type=texts,
    rotation=st.integers(-1, 99),
    execution=texts.map(ExecutionId),
    state=st.sampled_from(PointState),
    consistency=classes,
    made_at=times,
    window_s=times,
    skew_s=times,
    safety=st.booleans(),
    artifacts=st.lists(artifacts, max_size=2).map(tuple),
    proofs=st.lists(proofs, max_size=2).map(tuple),
)
