"""Policies and their runs in the database."""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from quiesce.errors import UnknownNameError
from quiesce.model.ids import DeploymentName
from quiesce.model.options import options_of
from quiesce.model.policy import ChoreKind, Policy, PolicyName, PolicyRules, PolicyRun, chore_name
from quiesce.stores.codec import decode, encode
from quiesce.stores.database import Database
from quiesce.stores.schema import policies, policy_runs


class SqlPolicies:
    """Answers the port `Policies`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, saved: Sequence[Policy]) -> None:
        """Keep *saved*, each instead of the one of its name; all of them, or none."""
        with self._database.write() as connection:
            for policy in saved:
                connection.execute(sa.delete(policies).where(_is(policy.deployment, policy.name)))
                connection.execute(sa.insert(policies).values(_row(policy)))

    def list(self, deployment: DeploymentName | None = None) -> Sequence[Policy]:
        """Return policies, by deployment and name."""
        query = sa.select(policies).order_by(policies.c.deployment, policies.c.name)
        if deployment is not None:
            query = query.where(policies.c.deployment == deployment)
        with self._database.read() as connection:
            return [_policy(dict(row)) for row in connection.execute(query).mappings()]

    def remove(self, deployment: DeploymentName, name: str) -> None:
        """Forget a policy and its runs; what it made stays."""
        own = [name, *(chore_name(PolicyName(name), kind) for kind in ChoreKind)]
        with self._database.write() as connection:
            gone = connection.execute(sa.delete(policies).where(_is(deployment, name))).rowcount
            connection.execute(
                sa.delete(policy_runs).where(
                    policy_runs.c.deployment == deployment, policy_runs.c.policy.in_(own)
                )
            )
        if not gone:
            known = [each.name for each in self.list(deployment)]
            raise UnknownNameError(f"policy of {deployment}", name, known)

    def claim(self, run: PolicyRun) -> bool:
        """Keep a new run; false: it is somebody's already."""
        with self._database.errors(), self._database.engine.begin() as connection:
            try:
                connection.execute(sa.insert(policy_runs).values(_run_row(run)))
            except sa.exc.IntegrityError:
                return False
        return True

    def update(self, run: PolicyRun) -> None:
        """Keep what became of a run."""
        table = policy_runs
        own = sa.and_(
            table.c.deployment == run.deployment,
            table.c.policy == run.policy,
            table.c.due_at == run.due_at,
        )
        with self._database.write() as connection:
            connection.execute(sa.update(table).where(own).values(_run_row(run)))

    def runs(self, policy: Policy, limit: int) -> Sequence[PolicyRun]:
        """Return its last runs, newest first."""
        table = policy_runs
        own = sa.and_(table.c.deployment == policy.deployment, table.c.policy == policy.name)
        query = sa.select(table.c.body).where(own).order_by(table.c.due_at.desc()).limit(limit)
        with self._database.read() as connection:
            bodies: builtins.list[str] = builtins.list(connection.execute(query).scalars())
        return [decode(PolicyRun, body) for body in bodies]


def _is(deployment: DeploymentName, name: str) -> sa.ColumnElement[bool]:
    return sa.and_(policies.c.deployment == deployment, policies.c.name == name)


def _row(policy: Policy) -> dict[str, object]:
    return {
        "deployment": policy.deployment,
        "name": policy.name,
        "given": json.dumps(policy.given),
        "since": policy.since,
        "told_at": policy.told_at,
    }


def _run_row(run: PolicyRun) -> dict[str, object]:
    return {
        "deployment": run.deployment,
        "policy": run.policy,
        "due_at": run.due_at,
        "state": run.state.value,
        "body": encode(run),
    }


def _policy(row: Mapping[str, object]) -> Policy:
    given = json.loads(str(row["given"]))
    read = {each.name: each.read for each in options_of(PolicyRules)}
    told_at = row["told_at"]
    return Policy(
        deployment=DeploymentName(str(row["deployment"])),
        name=PolicyName(str(row["name"])),
        given=given,
        rules=PolicyRules(**{key: read[key](value) for key, value in given.items()}),
        since=float(str(row["since"])),
        told_at=None if told_at is None else float(str(told_at)),
    )
