"""The stand-in refuses what Google's discovery document does not allow, in both directions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("googleapiclient", reason="the package google-api-python-client is missing")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "labs" / "gce"))

from fakegce import ApiError, Cloud, Estate
from fakegce.estate import PROJECT, ZONE

DISKS = f"/compute/v1/projects/{PROJECT}/zones/{ZONE}/disks"


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    return Cloud(op_seconds=0.0)


def ask(cloud: Cloud, verb: str, path: str, body: Any = None) -> dict[str, Any]:
    raw = b"" if body is None else json.dumps(body).encode()
    return cloud.handle(verb, path, raw)[1]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (DISKS, {"name": "d", "sizeGB": "10"}),
        (DISKS, {"name": "d", "sizeGb": "ten"}),
        (DISKS, {"name": "d", "sizeGb": 10}),
        (DISKS, {"name": "Bad_Name"}),
        (DISKS, {"name": "d" * 64}),
        (f"{DISKS}?nope=1", {"name": "d"}),
        (f"{DISKS}?requestId=1", {"name": "d"}),
    ],
)
def test_a_wrong_request_is_refused(cloud: Cloud, path: str, body: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        ask(cloud, "POST", path, body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("field", "value"), [("id", "abc"), ("sttaus", "READY"), ("status", "FINE"), ("users", "x")]
)
def test_a_wrong_answer_is_found_out(cloud: Cloud, field: str, value: str) -> None:
    cloud.reset()
    Estate(cloud).disk("d")
    cloud.items["disks", f"zones/{ZONE}", "d"][field] = value
    with pytest.raises(ApiError) as caught:
        ask(cloud, "GET", f"{DISKS}/d")
    assert caught.value.reason == "labResponseInvalid"


def test_the_same_request_id_gives_the_same_operation(cloud: Cloud) -> None:
    cloud.reset()
    path = f"{DISKS}?requestId=6f3b4b0c-9b3e-4f0e-8e6e-0123456789ab"
    names = {ask(cloud, "POST", path, {"name": "d"})["name"] for _ in range(3)}
    assert len(names) == 1
    with pytest.raises(ApiError) as caught:
        ask(cloud, "POST", DISKS, {"name": "d"})
    assert caught.value.status == 409


@pytest.mark.parametrize("by", ["disks.createSnapshot", "snapshots.insert"])
def test_a_copy_holds_what_was_there_when_its_point_in_time_was_fixed(cloud: Cloud, by: str) -> None:
    cloud.reset()
    now = [0.0]
    cloud.clock, cloud.cut_seconds, cloud.upload_seconds = lambda: now[0], 1.0, 5.0
    estate = Estate(cloud)
    estate.write(estate.disk("d"), "early")
    if by == "snapshots.insert":
        body = {"name": "s", "sourceDisk": f"projects/{PROJECT}/zones/{ZONE}/disks/d"}
        ask(cloud, "POST", f"/compute/v1/projects/{PROJECT}/global/snapshots", body)
    else:
        ask(cloud, "POST", f"{DISKS}/d/createSnapshot", {"name": "s"})
    estate.write(f"zones/{ZONE}/disks/d", "in time")
    now[0] = 2.0
    assert ask(cloud, "GET", f"/compute/v1/projects/{PROJECT}/global/snapshots/s")["status"] == "UPLOADING"
    estate.write(f"zones/{ZONE}/disks/d", "too late")
    assert cloud.contents[estate.find("global/snapshots/s")["id"]] == "in time"
