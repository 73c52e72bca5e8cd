"""One backup of fifty machines with three disks each, beside a sequential script with the official client.

Both run against the stand-in of ``tests/labs/gce`` in a process of its own. The frozen window (first freeze
to last thaw of a service in memory) is measured with short and with long uploads: it must not depend on them.

    python bench/gcp_fifty_machines.py [--machines 50] [--disks 3] [--upload 0.2 20] [--rounds 4]
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "labs" / "gce"))

from fakegce import Estate, serve
from fakegce.estate import PROJECT, ZONE
from fakegce.runs import Runs
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1

_OPERATION_S = 0.2


def stand_in(pipe: Connection, machines: int, disks: int) -> None:
    """Serve until told to end; answer questions about what was asked for."""
    server, cloud, url = serve(op_seconds=_OPERATION_S)
    estate = Estate(cloud)
    for number in range(machines):
        estate.machine_with_disks(f"vm-{number}", disks)
    cloud.log.clear()
    pipe.send(url)
    while True:
        told = pipe.recv()
        if told is None:
            server.shutdown()
            return
        if isinstance(told, float):
            cloud.upload_seconds = told
        pipe.send((len(cloud.log), len(estate.copies()), len(estate.off_schema())))
        cloud.log.clear()


class StandIn:
    """The stand-in's process, seen from here."""

    def __init__(self, machines: int, disks: int) -> None:
        self._pipe, theirs = multiprocessing.get_context("spawn").Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=stand_in, args=(theirs, machines, disks), daemon=True)
        self._process.start()
        self.url: str = self._pipe.recv()

    def ask(self, upload_s: float | None = None) -> tuple[int, int, int]:
        """Set how long uploads take; return requests since then, copies, and answers off schema."""
        self._pipe.send(upload_s if upload_s is not None else "?")
        answer: tuple[int, int, int] = self._pipe.recv()
        return answer

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join(5)


def one_after_the_other(place: StandIn, machines: int) -> dict[str, Any]:
    """Do what a script with the official client does: snapshot, wait for it, next disk."""
    options = {"credentials": AnonymousCredentials(), "client_options": ClientOptions(api_endpoint=place.url)}
    instances, disks = compute_v1.InstancesClient(**options), compute_v1.DisksClient(**options)
    snapshots, operations = compute_v1.SnapshotsClient(**options), compute_v1.ZoneOperationsClient(**options)
    # else it would ask Google itself how its operations go
    disks.transport._extended_operations_services["zone_operations"] = operations  # noqa: SLF001
    began = time.monotonic()
    made = []
    for number in range(machines):
        machine = instances.get(project=PROJECT, zone=ZONE, instance=f"vm-{number}")
        for attached in machine.disks:
            disk = attached.source.rpartition("/")[2]
            name = f"script-{disk}"
            resource = compute_v1.Snapshot(name=name)
            disks.create_snapshot(project=PROJECT, zone=ZONE, disk=disk, snapshot_resource=resource).result()
            made.append(name)
    took_s = time.monotonic() - began
    requests, copies, _ = place.ask()
    for name in made:
        snapshots.delete_unary(project=PROJECT, snapshot=name)
    time.sleep(_OPERATION_S * 2)
    place.ask()
    return {"seconds": round(took_s, 2), "requests": requests, "copies": copies}


def with_quiesce(place: StandIn, machines: int, parallel: int, upload_s: float) -> dict[str, Any]:
    """Back all machines up at once, with a service that is frozen around the cut."""
    place.ask(upload_s)
    with tempfile.TemporaryDirectory() as home:
        runs = Runs(Path(home), place.url)
        nodes = [runs.machine(f"vm-{number}", copy_as="disks") for number in range(machines)]
        runs.deploy([*nodes, runs.service("app", "vm-0")])
        began = time.monotonic()
        result = runs.run(
            "backup", snapshot_name="bench", snapshot_incremental=False, parallel=parallel, max_freeze=120
        )
        took_s = time.monotonic() - began
        if result.error is not None:
            raise SystemExit(str(result.error))
        requests, copies, off_schema = place.ask()
        (point,) = result.report.points
        runs.run("remove_backup", snapshot_name="bench", parallel=parallel)
        runs.close()
    place.ask()
    return {
        "upload_s": upload_s,
        "seconds": round(took_s, 2),
        "window_s": round(point.window_s, 2),
        "requests": requests,
        "copies": copies,
        "answers_off_schema": off_schema,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=50)
    parser.add_argument("--disks", type=int, default=3)
    parser.add_argument("--upload", type=float, nargs=2, default=(0.2, 20.0))
    parser.add_argument("--rounds", type=int, default=4, help="the median window of so many counts")
    parser.add_argument("--parallel", type=int, default=64)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    place = StandIn(given.machines, given.disks)
    try:
        script = one_after_the_other(place, given.machines)
        runs = [
            with_quiesce(place, given.machines, given.parallel, upload)
            for _ in range(given.rounds)
            for upload in given.upload
        ]
    finally:
        place.close()
    short, long = (
        statistics.median(run["window_s"] for run in runs if run["upload_s"] == up) for up in given.upload
    )
    ratio = long / short
    figures = {"script": script, "quiesce": runs, "window_ratio": round(ratio, 3)}
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
