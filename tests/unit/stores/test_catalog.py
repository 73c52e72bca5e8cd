"""The catalog and the deployments in the database."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from quiesce.errors import UnknownNameError, UsageError
from quiesce.model.consistency import Consistency
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, StepId
from quiesce.model.parameters import Parameters
from quiesce.model.plan import Plan
from quiesce.model.records import Begun
from quiesce.model.restore_point import PointState, Proof, RestorePoint, Trust
from quiesce.stores.catalog import SqlCatalog
from quiesce.stores.database import Database
from quiesce.stores.deployments import SqlDeployments
from quiesce.stores.executions import SqlExecutions

from ..planning.made import node, topology  # noqa: TID252  any topology
from . import made

SHOP = DeploymentName("shop")
ONE = RestorePoint(
    deployment=SHOP,
    name=BackupName("one"),
    full=True,
    type="daily",
    rotation=3,
    execution=ExecutionId("backup-1"),
    state=PointState.COMPLETE,
    consistency=Consistency.APPLICATION,
    made_at=10.0,
)
PROOF = Proof(at=11.0, kind="checksums", passed=True)
DEPLOYMENT = Deployment(
    name=SHOP, blueprint="shop.yaml", blueprint_dir="/", created_at=1.0, topology=topology([node("vm")])
)


@pytest.fixture
def catalog(database: Database) -> SqlCatalog:
    """An empty catalog."""
    return SqlCatalog(database)


def test_a_restore_point_is_kept_as_it_is_now(catalog: SqlCatalog) -> None:
    catalog.save(replace(ONE, state=PointState.INCOMPLETE))
    catalog.save(ONE)
    assert catalog.list(SHOP) == [replace(ONE, sequence=10)]


def test_proofs_outlive_saving_again_but_not_removal(catalog: SqlCatalog) -> None:
    catalog.save(ONE)
    catalog.add_proof(SHOP, ONE.name, PROOF)
    catalog.save(replace(ONE, type="weekly"))
    assert catalog.get(SHOP, "one").proofs == (PROOF,)
    catalog.save(replace(ONE, state=PointState.REMOVED))
    assert catalog.list() == []
    catalog.save(ONE)
    assert catalog.get(SHOP, "one").proofs == ()


def test_restore_points_are_listed_in_the_order_of_their_making(catalog: SqlCatalog) -> None:
    """The clock was ahead at b, and then put right; a name that is used again is a new one."""
    at = {"a": 20.0, "b": 9e9, "c": 30.0}
    for name, made_at in at.items():
        catalog.save(replace(ONE, name=BackupName(name), made_at=made_at))
    other = catalog.save(replace(ONE, deployment=DeploymentName("bank"), made_at=40.0))
    assert other.sequence == 40
    assert [point.name for point in catalog.list(SHOP)] == ["a", "b", "c"]
    for name in ("b", "a"):
        catalog.save(replace(ONE, name=BackupName(name), made_at=at[name], type="weekly"))
    assert [point.name for point in catalog.list(SHOP)] == ["a", "b", "c"], "saving again moves nothing"
    catalog.save(replace(ONE, name=BackupName("a"), state=PointState.REMOVED))
    catalog.save(replace(ONE, name=BackupName("a"), made_at=50.0, execution=ExecutionId("backup-2")))
    assert [point.name for point in catalog.list(SHOP)] == ["b", "c", "a"]


def test_executions_are_listed_in_the_order_of_their_beginning(database: Database) -> None:
    executions = SqlExecutions(database)
    plan = Plan(workflow="backup", parameters=Parameters(), groups=(), steps=())
    for name, at in (("first", 9e9), ("second", 10.0), ("third", 5.0)):
        executions.add(
            Execution(id=ExecutionId(name), deployment=SHOP, workflow="backup", created_at=at), plan
        )
    assert [each.id for each in executions.list(SHOP)] == ["first", "second", "third"]


def test_an_unknown_restore_point_is_answered_with_those_there_are(catalog: SqlCatalog) -> None:
    catalog.save(ONE)
    with pytest.raises(UnknownNameError, match="there is: one"):
        catalog.get(SHOP, "two")


def test_a_deployment_comes_back_and_cannot_be_made_twice(database: Database) -> None:
    deployments = SqlDeployments(database)
    deployments.add(DEPLOYMENT, {InstanceId("vm_1"): {"ip": "::1"}})
    assert deployments.get("shop") == DEPLOYMENT
    assert deployments.list() == [DEPLOYMENT]
    assert deployments.runtime_properties(SHOP) == {"vm_1": {"ip": "::1"}}
    with pytest.raises(UsageError, match="there is a deployment 'shop' already"):
        deployments.add(DEPLOYMENT, {})


@made.relaxed
@given(properties=made.objects, later=made.objects)
def test_runtime_properties_are_replaced_as_a_whole(properties: object, later: object) -> None:
    with_memory = Database("sqlite://")
    deployments = SqlDeployments(with_memory)
    deployments.add(DEPLOYMENT, {InstanceId("vm_1"): properties})  # type: ignore[dict-item]
    deployments.set_runtime_properties(SHOP, InstanceId("vm_1"), later)  # type: ignore[arg-type]
    assert deployments.runtime_properties(SHOP) == {"vm_1": later}
    with_memory.close()


@pytest.mark.parametrize("forgotten", ["shop", "bank"])
def test_forgetting_a_deployment_forgets_all_of_it_and_nothing_else(
    database: Database, catalog: SqlCatalog, forgotten: str
) -> None:
    deployments, executions = SqlDeployments(database), SqlExecutions(database)
    for name in ("shop", "bank"):
        own = DeploymentName(name)
        deployments.add(replace(DEPLOYMENT, name=own), {InstanceId("vm_1"): {"x": 1}})
        plan = Plan(workflow="backup", parameters=Parameters(), groups=(), steps=())
        execution = Execution(id=ExecutionId(name), deployment=own, workflow="backup", created_at=1.0)
        executions.add(execution, plan)
        executions.take_over(execution.id).append([Begun(at=1.0, tick=1.0, step=StepId("s"))])
        catalog.save(replace(ONE, deployment=own))
        catalog.add_proof(own, ONE.name, PROOF)
    deployments.remove(DeploymentName(forgotten))
    (left,) = {"shop", "bank"} - {forgotten}
    assert [each.name for each in deployments.list()] == [left]
    assert [each.id for each in executions.list()] == [left]
    assert [(each.deployment, each.proofs) for each in catalog.list()] == [(left, (PROOF,))]
    assert deployments.runtime_properties(DeploymentName(forgotten)) == {}


def test_an_unknown_deployment_is_answered_with_those_there_are(database: Database) -> None:
    SqlDeployments(database).add(DEPLOYMENT, {})
    with pytest.raises(UnknownNameError, match="there is: shop"):
        SqlDeployments(database).get("shoop")


@pytest.mark.parametrize(
    "change",
    [
        "SET body = replace(body, '\"full\":true', '\"full\":false')",
        "SET body = substr(body, 1, 20)",
        "SET body = ''",
        "SET made_at = 5.0",
        "SET digest = ''",
        "SET name = 'other'",
    ],
)
def test_one_damaged_entry_is_listed_as_damaged_and_costs_no_other(
    catalog: SqlCatalog, database: Database, change: str
) -> None:
    catalog.save(ONE)
    two = catalog.save(replace(ONE, name=BackupName("two")))
    with database.write() as connection:
        connection.exec_driver_sql(f"UPDATE restore_points {change} WHERE name = 'one'")
    damaged, sound = sorted(catalog.list(SHOP), key=lambda point: point.name != "two", reverse=True)
    assert sound == two
    assert damaged.trust is Trust.DAMAGED
    assert "catalog" in damaged.damage
