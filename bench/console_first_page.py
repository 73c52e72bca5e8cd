"""How long the console's first page takes with 5,000 deployments and 100,000 restore points.

The baseline of the same run is the same page with 50 deployments and 1,000 restore points.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa
from starlette.testclient import TestClient

from quiesce.bootstrap import Application, Settings
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId
from quiesce.model.restore_point import PointState, RestorePoint
from quiesce.model.topology import Topology
from quiesce.service.access import Access
from quiesce.service.app import console
from quiesce.service.audit import Audit
from quiesce.service.launching import Launcher
from quiesce.service.users import UserRole, Users
from quiesce.stores.catalog import _row
from quiesce.stores.codec import pack
from quiesce.stores.database import Database
from quiesce.stores.schema import deployments, restore_points

GOAL_S = 1.0


def filled(home: Path, count: int, points: int) -> None:
    """Put *count* deployments with *points* restore points each into the database of *home*."""
    database = Database(f"sqlite:///{home}/quiesce.db")
    topology = pack(Topology(nodes={}, instances={}))
    with database.write() as connection:
        connection.execute(
            sa.insert(deployments),
            [
                {
                    "name": f"d{n:05}",
                    "blueprint": "",
                    "blueprint_dir": "",
                    "created_at": 1.0,
                    "topology": topology,
                }
                for n in range(count)
            ],
        )
        connection.execute(
            sa.insert(restore_points), [row(n, m) for n in range(count) for m in range(points)]
        )
    database.close()


def row(deployment: int, number: int) -> dict[str, object]:
    """Return one restore point as it is stored."""
    return _row(
        RestorePoint(
            deployment=DeploymentName(f"d{deployment:05}"),
            name=BackupName(f"p{number}"),
            full=True,
            type="nightly",
            rotation=1,
            execution=ExecutionId("e"),
            state=PointState.COMPLETE,
            consistency=Consistency.FILESYSTEM,
            made_at=1000.0 + number,
            window_s=0.01,
            sequence=number + 1,
        )
    )


def first_page_s(count: int, points: int) -> float:
    """Return how long the first page takes, in seconds: the median of five."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        filled(home, count, points)
        application = Application(Settings.of({"QUIESCE_HOME": directory}))
        users = Users(home / "console-users.json")
        app = console(
            application.services,
            Access(users, frozenset({"localhost"})),
            Launcher(home, os.environ),
            Audit(home / "audit"),
        )
        browser = TestClient(app, base_url="http://localhost")
        browser.post("/login", data={"token": users.add("bench", UserRole.VIEWER)})
        taken = []
        for _ in range(5):
            begun = time.perf_counter()
            answer = browser.get("/")
            taken.append(time.perf_counter() - begun)
            assert "d00000" in answer.text
        application.close()
    return statistics.median(taken)


def main() -> int:
    """Measure and print."""
    small, large = first_page_s(50, 20), first_page_s(5000, 20)
    print(f"first page, 50 deployments, 1,000 restore points: {small * 1000:.0f} ms")
    print(
        f"first page, 5,000 deployments, 100,000 restore points: {large * 1000:.0f} ms (goal {GOAL_S * 1000:.0f})"
    )
    print(f"ratio {large / small:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
