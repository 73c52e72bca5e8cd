"""Deployments in the database."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from quiesce.errors import UnknownNameError, UsageError
from quiesce.model.deployment import Deployment
from quiesce.model.ids import DeploymentName, InstanceId, Json
from quiesce.model.topology import Topology
from quiesce.stores.codec import pack, unpack
from quiesce.stores.database import Database
from quiesce.stores.schema import (
    deployments,
    durations,
    executions,
    policies,
    policy_runs,
    proofs,
    records,
    restore_points,
    runtime_properties,
)

_MAKE_ONE: Final = "Make one: quiesce init BLUEPRINT -b NAME"
#: what is forgotten with a deployment
_OWN_TABLES: Final = (
    executions,
    runtime_properties,
    durations,
    restore_points,
    proofs,
    policies,
    policy_runs,
)


class SqlDeployments:
    """Answers the port `Deployments`."""

    def __init__(
        self, database: Database, backed_up: Callable[[], Sequence[str]] = lambda: (), repository: str = ""
    ) -> None:
        """*backed_up* gives the deployments of which *repository* holds backups.

        When the database knows no deployment at all, it was lost, and they say how it comes back.
        """
        self._database = database
        self._backed_up = backed_up
        self._repository = repository

    def add(
        self, deployment: Deployment, runtime_properties: Mapping[InstanceId, Mapping[str, Json]]
    ) -> None:
        """Keep a new deployment."""
        row = _row(deployment)
        with self._database.errors(), self._database.engine.begin() as connection:
            try:
                connection.execute(sa.insert(deployments).values(row))
            except sa.exc.IntegrityError:
                raise UsageError(
                    f"there is a deployment {deployment.name!r} already",
                    hint=f"Choose another name, or forget it first: "
                    f"quiesce deployments remove {deployment.name}",
                ) from None
            for instance, properties in runtime_properties.items():
                _replace(connection, deployment.name, instance, properties)

    def renew(
        self, deployment: Deployment, runtime_properties: Mapping[InstanceId, Mapping[str, Json]]
    ) -> None:
        """Replace what is kept of a deployment itself; its executions and restore points stay."""
        name = deployment.name
        with self._database.write() as connection:
            row = _row(deployment)
            connection.execute(sa.update(deployments).where(deployments.c.name == name).values(row))
            _forget_properties(connection, name)
            for instance, properties in runtime_properties.items():
                _replace(connection, name, instance, properties)

    def get(self, name: str) -> Deployment:
        """Return a deployment."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(deployments).where(deployments.c.name == name)).one_or_none()
        if row is None:
            known = self.names()
            raise UnknownNameError("deployment", name, known, hint=_MAKE_ONE if known else self._lost_hint())
        return _deployment(row)

    def _lost_hint(self) -> str:
        names = self._backed_up()
        if not names:
            return _MAKE_ONE
        return (
            f"{self._repository} holds backups of {', '.join(names)}, so the database was lost. "
            f"Bring it back: quiesce init BLUEPRINT -b {names[0]} --from-repository {self._repository}; "
            f"then quiesce backups rebuild {names[0]}"
        )

    def list(self) -> Sequence[Deployment]:
        """Return every deployment, by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(deployments).order_by(deployments.c.name))
            return [_deployment(row) for row in rows]

    def names(self) -> Sequence[DeploymentName]:
        """Return every deployment's name, sorted."""
        query = sa.select(deployments.c.name).order_by(deployments.c.name)
        with self._database.read() as connection:
            return [DeploymentName(name) for name in connection.execute(query).scalars()]

    def remove(self, name: DeploymentName) -> None:
        """Forget a deployment, its executions, its restore points and its policies."""
        own = sa.select(executions.c.id).where(executions.c.deployment == name).scalar_subquery()
        with self._database.write() as connection:
            connection.execute(sa.delete(records).where(records.c.execution.in_(own)))
            for table in _OWN_TABLES:
                connection.execute(sa.delete(table).where(table.c.deployment == name))
            connection.execute(sa.delete(deployments).where(deployments.c.name == name))

    def runtime_properties(self, name: DeploymentName) -> Mapping[InstanceId, Mapping[str, Json]]:
        """Return the runtime properties of all instances that have any."""
        query = sa.select(runtime_properties).where(runtime_properties.c.deployment == name)
        with self._database.read() as connection:
            return {InstanceId(row.instance): json.loads(row.properties) for row in connection.execute(query)}

    def set_runtime_properties(
        self, name: DeploymentName, instance: InstanceId, properties: Mapping[str, Json]
    ) -> None:
        """Replace the runtime properties of one instance."""
        with self._database.write() as connection:
            _replace(connection, name, instance, properties)


def _row(deployment: Deployment) -> dict[str, object]:
    return {
        "name": deployment.name,
        "blueprint": deployment.blueprint,
        "blueprint_dir": deployment.blueprint_dir,
        "created_at": deployment.created_at,
        "topology": pack(deployment.topology),
    }


def _forget_properties(connection: sa.Connection, name: DeploymentName) -> None:
    table = runtime_properties
    connection.execute(sa.delete(table).where(table.c.deployment == name))


def _replace(
    connection: sa.Connection, name: DeploymentName, instance: InstanceId, properties: Mapping[str, Json]
) -> None:
    table = runtime_properties
    connection.execute(sa.delete(table).where(table.c.deployment == name, table.c.instance == instance))
    row = {"deployment": name, "instance": instance, "properties": json.dumps(properties)}
    connection.execute(sa.insert(table).values(row))


def _deployment(row: Any) -> Deployment:
    return Deployment(
        name=DeploymentName(row.name),
        blueprint=row.blueprint,
        blueprint_dir=row.blueprint_dir,
        created_at=row.created_at,
        topology=unpack(Topology, row.topology),
    )
