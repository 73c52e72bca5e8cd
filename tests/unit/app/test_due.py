"""What of a policy is due, by what the catalog says."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from quiesce.app.policies.due import to_verify
from quiesce.app.services import Services
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId
from quiesce.model.policy import Policy, PolicyName, PolicyRules
from quiesce.model.restore_point import RESTORED, PointState, Proof, RestorePoint

HOUR = 3600.0
SHOP = DeploymentName("shop")
POINT = RestorePoint(
    deployment=SHOP,
    name=BackupName("one"),
    full=True,
    type="nightly",
    rotation=1,
    execution=ExecutionId("backup-1"),
    state=PointState.COMPLETE,
    consistency=Consistency.CRASH,
    made_at=0.0,
)
POLICY = Policy(
    deployment=SHOP,
    name=PolicyName("nightly"),
    given={},
    rules=PolicyRules(verify_every=24 * HOUR),
    since=0.0,
)


def services(*proofs: Proof) -> Services:
    found = replace(POINT, proofs=proofs)
    return cast(
        "Services",
        SimpleNamespace(
            catalog=SimpleNamespace(list=lambda _deployment: [found]),
            clock=SimpleNamespace(now=lambda: 10 * HOUR),
        ),
    )


@pytest.mark.parametrize(
    ("proof", "is_due"),
    [
        (Proof(at=HOUR, kind="checksums", passed=True), False),
        (Proof(at=HOUR, kind="checksums", passed=True, partial=True), False),
        (Proof(at=HOUR, kind=RESTORED, passed=True), False),
        # what a trial cannot restore, a check can read
        (Proof(at=HOUR, kind=RESTORED, passed=True, partial=True), True),
        (Proof(at=-20 * HOUR, kind="checksums", passed=True), True),
    ],
)
def test_a_check_is_due_where_none_of_all_of_it_is_young(proof: Proof, is_due: bool) -> None:
    assert (to_verify(services(proof), POLICY) is not None) == is_due
