"""The catalog of restore points in the database."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from quiesce.errors import UnknownNameError
from quiesce.model.ids import BackupName, DeploymentName
from quiesce.model.restore_point import PointState, Proof, RestorePoint
from quiesce.stores.codec import decode, encode
from quiesce.stores.database import Database
from quiesce.stores.schema import proofs, restore_points


class SqlCatalog:
    """Answers the port `Catalog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, point: RestorePoint) -> None:
        """Keep *point* as it is now."""
        row = {
            "deployment": point.deployment,
            "name": point.name,
            "state": point.state.value,
            "made_at": point.made_at,
            "body": encode(replace(point, proofs=())),
        }
        table = restore_points
        own = sa.and_(table.c.deployment == point.deployment, table.c.name == point.name)
        with self._database.write() as connection:
            connection.execute(sa.delete(table).where(own))
            if point.state is PointState.REMOVED:
                connection.execute(
                    sa.delete(proofs).where(
                        proofs.c.deployment == point.deployment, proofs.c.point == point.name
                    )
                )
            connection.execute(sa.insert(table).values(row))

    def get(self, deployment: DeploymentName, name: str) -> RestorePoint:
        """Return a restore point that is not removed."""
        points = {point.name: point for point in self.list(deployment)}
        found = points.get(BackupName(name))
        if found is None:
            raise UnknownNameError(
                f"restore point of {deployment}",
                name,
                points,
                hint=f"See them: quiesce backups list {deployment}",
            )
        return found

    def list(self, deployment: DeploymentName | None = None) -> Sequence[RestorePoint]:
        """Return restore points that are not removed, oldest first."""
        table = restore_points
        query = sa.select(table.c.body).where(table.c.state != PointState.REMOVED.value)
        if deployment is not None:
            query = query.where(table.c.deployment == deployment)
        with self._database.read() as connection:
            bodies = connection.execute(query.order_by(table.c.made_at)).scalars().all()
            kept = self._proofs(connection)
        points = [decode(RestorePoint, body) for body in bodies]
        return [replace(p, proofs=tuple(kept.get((p.deployment, p.name), ()))) for p in points]

    def add_proof(self, deployment: DeploymentName, name: BackupName, proof: Proof) -> None:
        """Keep the result of a check."""
        row = {"deployment": deployment, "point": name, "body": encode(proof)}
        with self._database.write() as connection:
            connection.execute(sa.insert(proofs).values(row))

    def _proofs(self, connection: sa.Connection) -> dict[tuple[str, str], builtins.list[Proof]]:
        found: dict[tuple[str, str], builtins.list[Proof]] = {}
        for row in connection.execute(sa.select(proofs).order_by(proofs.c.id)):
            found.setdefault((row.deployment, row.point), []).append(decode(Proof, row.body))
        return found
