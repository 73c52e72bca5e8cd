"""The catalog of restore points in the database."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Final

import sqlalchemy as sa

from quiesce.errors import UnknownNameError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId
from quiesce.model.restore_point import PointState, Proof, RestorePoint
from quiesce.stores.codec import decode, encode
from quiesce.stores.database import Database
from quiesce.stores.schema import proofs, restore_points

#: so many artifacts are encoded together
_ARTIFACTS: Final = 1000


class SqlCatalog:
    """Answers the port `Catalog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, point: RestorePoint) -> RestorePoint:
        """Keep *point* as it is now, and return it with its place in the order of all."""
        table = restore_points
        own = sa.and_(table.c.deployment == point.deployment, table.c.name == point.name)
        with self._database.write() as connection:
            before = connection.execute(sa.delete(table).where(own).returning(table.c.body)).scalar()
            if not point.sequence:
                point = replace(point, sequence=_sequence(connection, point, before))
            if point.state is PointState.REMOVED:
                connection.execute(
                    sa.delete(proofs).where(
                        proofs.c.deployment == point.deployment, proofs.c.point == point.name
                    )
                )
            connection.execute(sa.insert(table).values(_row(point)))
        return point

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
        query = sa.select(table).where(table.c.state != PointState.REMOVED.value)
        if deployment is not None:
            query = query.where(table.c.deployment == deployment)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.sequence, table.c.made_at)).mappings().all()
            kept = self._proofs(connection)
        points = [_point(row) for row in rows]
        return [replace(p, proofs=tuple(kept.get((p.deployment, p.name), ()))) for p in points]

    def newest(self, deployments: Sequence[DeploymentName]) -> Mapping[DeploymentName, RestorePoint]:
        """Return the newest complete restore point of each of *deployments* that has one."""
        table = restore_points
        good = sa.and_(table.c.state == PointState.COMPLETE.value, table.c.deployment.in_(deployments))
        last = sa.select(table.c.deployment, sa.func.max(table.c.sequence).label("last")).where(good)
        newest = last.group_by(table.c.deployment).subquery()
        query = sa.select(table).join(
            newest,
            sa.and_(table.c.deployment == newest.c.deployment, table.c.sequence == newest.c.last),
        )
        with self._database.read() as connection:
            points = [_point(row) for row in connection.execute(query.where(good)).mappings()]
            return {
                point.deployment: replace(point, proofs=self._proofs_of(connection, point))
                for point in points
            }

    def add_proof(self, deployment: DeploymentName, name: BackupName, proof: Proof) -> None:
        """Keep the result of a check."""
        row = {"deployment": deployment, "point": name, "body": encode(proof)}
        with self._database.write() as connection:
            connection.execute(sa.insert(proofs).values(row))

    def _proofs_of(self, connection: sa.Connection, point: RestorePoint) -> tuple[Proof, ...]:
        own = sa.and_(proofs.c.deployment == point.deployment, proofs.c.point == point.name)
        query = sa.select(proofs.c.body).where(own).order_by(proofs.c.id)
        return tuple(decode(Proof, body) for body in connection.execute(query).scalars())

    def _proofs(self, connection: sa.Connection) -> dict[tuple[str, str], builtins.list[Proof]]:
        found: dict[tuple[str, str], builtins.list[Proof]] = {}
        for row in connection.execute(sa.select(proofs).order_by(proofs.c.id)):
            with suppress(Exception):  # the result of a check that cannot be read is none
                found.setdefault((row.deployment, row.point), []).append(decode(Proof, row.body))
        return found


def _row(point: RestorePoint) -> dict[str, object]:
    row: dict[str, object] = {
        "deployment": point.deployment,
        "name": point.name,
        "state": point.state.value,
        "made_at": point.made_at,
        "sequence": point.sequence,
        "body": "".join(_pieces(point)),
    }
    return row | {"digest": _digest(**row)}


def _pieces(point: RestorePoint) -> Iterator[str]:
    """Give *point* as `encode` does, a piece at a time: it may hold an artifact of each of many instances."""
    head = encode(replace(point, artifacts=(), proofs=()))
    artifacts = iter(point.artifacts)
    between = f'{head[:-1]},"artifacts":['
    while some := tuple(islice(artifacts, _ARTIFACTS)):
        yield between
        yield encode(some)[1:-1]
        between = ","
    yield "]}" if between == "," else head


def _sequence(connection: sa.Connection, point: RestorePoint, before: str | None) -> int:
    """Return its place: after all that are there, and about the time, for catalogs that are merged later."""
    with suppress(Exception):  # what was there cannot be read any more
        kept = decode(RestorePoint, before) if before is not None else None
        if kept is not None and kept.execution == point.execution:
            return kept.sequence
    last = sa.select(sa.func.max(restore_points.c.sequence)).where(
        restore_points.c.deployment == point.deployment
    )
    return max((connection.execute(last).scalar() or 0) + 1, int(point.made_at))


def _digest(**columns: object) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(columns.items()):
        text = str(value)
        digest.update(f"{name} {len(text)} ".encode())
        digest.update(text.encode())
    return digest.hexdigest()


def _point(row: sa.RowMapping) -> RestorePoint:
    """Return the restore point of a row; of a damaged one, what can be read of it and that it is damaged."""
    columns = dict(row)
    damage = ""
    if columns.pop("digest") != _digest(**columns):
        damage = "its entry in the catalog is not what was written"
    try:
        point = decode(RestorePoint, columns["body"])
    except Exception:  # noqa: BLE001  whatever a converter raises
        return _unreadable(**columns)
    named = replace(point, deployment=columns["deployment"], name=columns["name"])
    return replace(named, damage=damage or point.damage)


def _unreadable(
    deployment: DeploymentName, name: BackupName, made_at: object, sequence: object, **_: object
) -> RestorePoint:
    return RestorePoint(
        deployment=deployment,
        name=name,
        full=True,
        type="",
        rotation=0,
        execution=ExecutionId(""),
        state=PointState.PARTIAL,
        consistency=Consistency.NONE,
        made_at=made_at if isinstance(made_at, float) else 0.0,
        sequence=sequence if isinstance(sequence, int) else 0,
        damage="its entry in the catalog cannot be read",
    )
