"""What is stored comes back as it was, also when an older or a newer version wrote it."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given

from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution
from quiesce.model.ids import DeploymentName, InstanceId
from quiesce.model.outcome import NOTHING
from quiesce.model.plan import Plan
from quiesce.model.records import Begun, Done, Record
from quiesce.model.restore_point import Proof, RestorePoint
from quiesce.model.topology import Topology
from quiesce.stores.codec import RECORD_KINDS, decode, decode_record, encode, encode_record, pack, unpack

from ..planning.made import topologies  # noqa: TID252  any topology
from . import made


@made.relaxed
@given(record=made.records)
def test_records_come_back_as_they_were(record: Record) -> None:
    kind, body = encode_record(record)
    assert decode_record(kind, body) == record


@made.relaxed
@given(plan=made.plans)
def test_plans_come_back_with_the_same_digest(plan: Plan) -> None:
    found = unpack(Plan, pack(plan))
    assert found == plan
    assert found.digest == plan.digest


@made.relaxed
@given(execution=made.executions, point=made.restore_points, proof=made.proofs)
def test_executions_points_and_proofs_come_back_as_they_were(
    execution: Execution, point: RestorePoint, proof: Proof
) -> None:
    assert decode(Execution, encode(execution)) == execution
    assert decode(RestorePoint, encode(point)) == point
    assert decode(Proof, encode(proof)) == proof


@made.relaxed
@given(where=topologies())
def test_topologies_come_back_as_they_were(where: Topology) -> None:
    deployment = Deployment(
        name=DeploymentName("d"), blueprint="b", blueprint_dir="/", created_at=1.0, topology=where
    )
    assert unpack(Deployment, pack(deployment)) == deployment
    assert list(unpack(Topology, pack(where)).instances) == [InstanceId(name) for name in where.instances]


@made.relaxed
@given(record=made.records)
def test_a_field_of_a_later_version_is_ignored(record: Record) -> None:
    kind, body = encode_record(record)
    later = json.dumps({**json.loads(body), "a_field_of_the_future": {"x": 1}})
    assert decode_record(kind, later) == record


@pytest.mark.parametrize("kind", RECORD_KINDS)
def test_a_record_without_its_later_fields_can_still_be_read(kind: str) -> None:
    """Whatever has a default was, or may be, missing in what an earlier version wrote."""
    needed = {
        field.name: {"step": "s", "outcome": {}, "level": "info", "ending": "failed"}.get(field.name, 1.0)
        for field in dataclasses.fields(RECORD_KINDS[kind])
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    needed |= {name: "text" for name in ("plan_digest", "code", "message") if name in needed}
    assert encode_record(decode_record(kind, json.dumps(needed)))[0] == kind


def test_what_is_default_is_not_stored() -> None:
    assert encode_record(Begun(at=1.0, tick=2.0, step="s")) == ("begun", '{"at":1.0,"tick":2.0,"step":"s"}')
    assert len(encode_record(Done(at=1.0, tick=2.0, step="s", outcome=NOTHING))[1]) < 60
