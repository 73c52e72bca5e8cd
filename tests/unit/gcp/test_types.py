"""A second opinion: the stand-in, and Google's discovery document that it judges by, against the SDK's types.

A request must have each field in the same place (path, query or body) for both, and what the provider sends
must be in both, or be known to be in one only.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("google.cloud.compute_v1", reason="the package google-cloud-compute is missing")
pytest.importorskip("googleapiclient", reason="the package google-api-python-client is missing")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "labs" / "gce"))

from fakegce import Cloud
from google.cloud import compute_v1

#: what the provider asks for, by the service's names
USED = {
    "disks": "addResourcePolicies createSnapshot delete get insert list testIamPermissions",
    "globalOperations": "get wait",
    "instances": "attachDisk delete detachDisk get insert resume start stop suspend testIamPermissions",
    "instantSnapshotGroups": "delete get insert",
    "instantSnapshots": "delete get insert list setLabels",
    "machineImages": "delete get insert list",
    "machineTypes": "get",
    "projects": "get",
    "regionDisks": "addResourcePolicies createSnapshot delete get insert list testIamPermissions",
    "regionInstantSnapshots": "delete get insert list",
    "regionOperations": "get wait",
    "regions": "get",
    "resourcePolicies": "get",
    "snapshots": "delete get list",
    "zoneOperations": "get wait",
}
METHODS = [(resource, method) for resource, methods in USED.items() for method in methods.split()]
#: what the provider sends as a resource, and the fields of it that only the discovery document has
BODIES = {
    "AttachedDisk": set(),
    "Disk": {"sourceMachineImage", "sourceMachineImageDiskDeviceName"},
    "Instance": set(),
    "InstantSnapshot": set(),
    "InstantSnapshotGroup": set(),
    "MachineImage": set(),
    "Snapshot": set(),
}
#: those of them that the provider sends all the same, past the SDK
SENT_PAST_IT = {"sourceMachineImage", "sourceMachineImageDiskDeviceName"}


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    return Cloud()


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def _plain(name: str) -> str:
    """Return a field's name without what only the SDK's language needs."""
    return _snake(name).rstrip("_")


def _http(resource: str, method: str) -> Mapping[str, str]:
    """Return verb, path and body's field of a request, as the SDK sends it."""
    folder = _snake(resource)
    module = importlib.import_module(f"google.cloud.compute_v1.services.{folder}.transports.rest_base")
    transport = next(value for name, value in vars(module).items() if name.startswith("_Base"))
    name = "_Base" + method[0].upper() + method[1:]
    options: list[Mapping[str, str]] = getattr(transport, name)._get_http_options()
    return options[0]


def _request(resource: str, method: str) -> Any:
    """Return the SDK's class of a request."""
    noun = resource[0].upper() + resource[1:]
    singular = re.sub(r"ies$", "y", noun).removesuffix("s")
    action = method[0].upper() + method[1:]
    names = (f"{action}{singular}Request", f"{action}{noun}Request")
    return next(getattr(compute_v1, name) for name in names if hasattr(compute_v1, name))


@pytest.mark.parametrize(("resource", "method"), METHODS)
def test_every_field_of_a_request_has_the_same_place(cloud: Cloud, resource: str, method: str) -> None:
    declared = cloud.spec.document["resources"][resource]["methods"][method]
    sent, known = _http(resource, method), declared["parameters"]
    assert sent["method"].upper() == declared["httpMethod"]
    assert (
        re.sub(r"\{(\w+)\}", lambda hit: f"{{{_snake(hit[1])}}}", f"/compute/v1/{declared['path']}")
        == sent["uri"]
    )
    assert ("body" in sent) == ("request" in declared)
    path = {_snake(name) for name, one in known.items() if one["location"] == "path"}
    query = {_snake(name) for name, one in known.items() if one["location"] == "query"}
    fields = set(_request(resource, method).meta.fields) - {sent.get("body")}
    assert {name for name in fields if f"{{{name}}}" in sent["uri"]} == path
    assert fields - path <= query


@pytest.mark.parametrize("name", BODIES)
def test_what_is_sent_is_in_both(cloud: Cloud, name: str) -> None:
    declared = {_plain(field) for field in cloud.spec.schemas[name]["properties"]}
    known = {_plain(field) for field in getattr(compute_v1, name).meta.fields}
    assert known <= declared
    only_there = {field for field in cloud.spec.schemas[name]["properties"] if _plain(field) not in known}
    assert BODIES[name] <= only_there
    assert SENT_PAST_IT & only_there == BODIES[name]


@pytest.mark.parametrize(("resource", "method"), METHODS)
def test_every_request_of_the_provider_is_served(cloud: Cloud, resource: str, method: str) -> None:
    collection = {"regionDisks": "disks", "regionInstantSnapshots": "instantSnapshots"}.get(
        resource, resource
    )
    assert hasattr(cloud, f"{collection}_{method}") or hasattr(cloud, f"any_{method}")


def test_a_table_of_what_the_stand_in_leaves_out(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    rows = []
    for resource in USED:
        collection = {"regionDisks": "disks", "regionInstantSnapshots": "instantSnapshots"}.get(
            resource, resource
        )
        methods = cloud.spec.document["resources"][resource]["methods"]
        served = [m for m in methods if hasattr(cloud, f"{collection}_{m}") or hasattr(cloud, f"any_{m}")]
        rows.append((resource, served, sorted(set(methods) - set(served))))
    with capsys.disabled():
        print("\nresource | served | left out")
        for resource, served, left_out in rows:
            print(f"{resource} | {', '.join(served)} | {', '.join(left_out) or '-'}")
    assert all(served for _, served, _ in rows)
