"""Whatever Compute Engine answers to whichever request, nothing is doubled, lost or left behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.compute_v1", reason="the package google-cloud-compute is missing")
pytest.importorskip("googleapiclient", reason="the package google-api-python-client is missing")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "labs" / "gce"))

from fakegce import Cloud, Estate, Fault, serve
from fakegce.runs import Runs

from quiesce.errors import DamagedError, QuiesceError, TargetError, UnreachableError
from quiesce.model.ids import Json

VM = "projects/lab-project/zones/us-central1-a/instances/vm"
#: more than any of the workflows below sends
MOST_REQUESTS = 120

#: name -> the fault, and whether quiesce must get over it by itself
FAULTS = {
    "403-quota": (Fault(kind="http", status=403, reason="quotaExceeded"), True),
    "403-rate": (Fault(kind="http", status=403, reason="rateLimitExceeded"), True),
    "403-forbidden": (Fault(kind="http", status=403, reason="forbidden"), False),
    "404": (Fault(kind="http", status=404, reason="notFound"), False),
    "409": (Fault(kind="http", status=409, reason="alreadyExists"), False),
    "412": (Fault(kind="http", status=412, reason="conditionNotMet"), True),
    "429": (Fault(kind="http", status=429, reason="rateLimitExceeded"), True),
    "503": (Fault(kind="http", status=503, reason="backendError"), True),
    "late-failure": (Fault(kind="operation", code="INTERNAL_ERROR", status=500), True),
    "late-refusal": (Fault(kind="operation", code="INVALID_FIELD_VALUE", status=400), False),
    "wait-undone": (Fault(kind="undone"), True),
    "answer-lost": (Fault(kind="lost"), True),
}


class Place:
    """One stand-in and one home for a whole module: each test gets new resources in it."""

    def __init__(self, home: Path) -> None:
        self.server, self.cloud, self.url = serve(op_seconds=0.001)
        self.runs = Runs(home, self.url, guarded=False)
        self.provider = self.runs.application.services.provider("gcp")
        self.provider._sleep = lambda seconds: time.sleep(min(seconds, 0.001))  # type: ignore[attr-defined]
        self.count = 0

    def fresh(self, **properties: Json) -> tuple[str, Cloud, Estate]:
        """Return a new deployment of one machine with two disks."""
        self.count += 1
        self.cloud.reset()
        estate = Estate(self.cloud)
        estate.machine("vm", [estate.disk("boot"), estate.disk("data")])
        name = f"lab{self.count}"
        self.runs.deploy([self.runs.machine("vm", **properties)], name)
        self.cloud.log.clear()
        return name, self.cloud, estate

    def close(self) -> None:
        self.runs.close()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


def planted(fault: Fault, skip: int) -> Fault:
    fields = ("kind", "status", "reason", "code", "count")
    return Fault(**{field: getattr(fault, field) for field in fields}, skip=skip)


def run(place: Place, name: str, workflow: str, **parameters: Json):
    return place.runs.run(workflow, deployment=name, task_retry_interval=0.01, **parameters)


@pytest.mark.parametrize("copy_as", ["disks", "machine_image"])
@pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
@pytest.mark.parametrize("kind", FAULTS)
def test_a_backup_is_made_once_or_not_at_all(place: Place, kind: str, full: bool, copy_as: str) -> None:
    """Whichever request is hit: all copies are there exactly once, or none is.

    An operation that fails late is begun again only while the deployment still stands still.
    """
    fault, harmless = FAULTS[kind]
    expected = 2 if copy_as == "disks" else 1
    for skip in range(MOST_REQUESTS):
        name, cloud, estate = place.fresh(copy_as=copy_as)
        before = estate.objects()
        cloud.faults.append(planted(fault, skip))
        result = run(place, name, "backup", snapshot_name="one", snapshot_incremental=not full)
        if result.error is None:
            assert len(estate.copies()) == expected, f"request {skip}"
        else:
            gone = "the moment of the cut is gone" in str(result.error)
            assert gone if kind == "late-failure" else not harmless, f"request {skip}: {result.error}"
            assert estate.objects() == before, f"request {skip}"
        assert [entry for entry in estate.off_schema() if entry[3] != 500] == []
        if not cloud.faults[0].struck:
            return
    pytest.fail(f"more than {MOST_REQUESTS} requests")


def restore_error(place: Place, name: str) -> QuiesceError | None:
    """Return why a restore failed, or was refused before it touched anything."""
    try:
        return run(place, name, "restore", snapshot_name="one").error
    except (DamagedError, TargetError, UnreachableError) as refused:
        return refused


@pytest.mark.parametrize("copy_as", ["disks", "machine_image"])
@pytest.mark.parametrize("kind", FAULTS)
def test_a_restore_succeeds_or_is_finished_by_the_next_one(place: Place, kind: str, copy_as: str) -> None:
    """Whichever request is hit: in the end the state is back, the machine runs, and no disk is left over."""
    fault, harmless = FAULTS[kind]
    for skip in range(MOST_REQUESTS):
        name, cloud, estate = place.fresh(copy_as=copy_as)
        estate.write_all(VM, "before")
        assert run(place, name, "backup", snapshot_name="one", snapshot_incremental=False).error is None
        estate.write_all(VM, "after")
        cloud.faults.append(planted(fault, skip))
        error = restore_error(place, name)
        struck = cloud.faults.pop().struck
        if error is not None:
            assert not harmless, f"request {skip}: {error}"
            assert restore_error(place, name) is None, f"request {skip}"
        assert estate.read_all(VM) == "before", f"request {skip}"
        assert estate.find(VM)["status"] == "RUNNING", f"request {skip}"
        disks = [key for key in cloud.items if key[0] == "disks"]
        # what a restore has put there whole is kept by the next one, though its probe failed
        expected = 6 if error is not None and ".probe failed" in str(error) else 4
        assert len(disks) == expected, f"request {skip}: {error}: {disks}"
        assert all(
            estate.read(f"zones/us-central1-a/disks/{disk}").endswith("after") for disk in ("boot", "data")
        )
        if not struck:
            return
    pytest.fail(f"more than {MOST_REQUESTS} requests")


def test_a_repeated_request_is_done_once(place: Place) -> None:
    """An answer that is lost again and again does not make a second snapshot."""
    name, cloud, estate = place.fresh(copy_as="disks")
    cloud.faults.append(Fault(kind="lost", method="compute.disks.createSnapshot", count=4))
    assert run(place, name, "backup", snapshot_name="one", snapshot_incremental=False).error is None
    assert len(estate.copies()) == 2
    asked = [entry for entry in cloud.log if entry[2] == "compute.disks.createSnapshot"]
    begun = [op for op in cloud.operations.values() if op.resource["operationType"] == "createSnapshot"]
    assert len(asked) == 6
    assert len(begun) == 2
