"""What the stand-in of Compute Engine takes and answers, judged by Google's own two clients.

They share no code with it: google-cloud-compute's types (generated from Google's protocol buffers) read every
body of every request and answer, and google-api-python-client builds each request anew, from which follows
which argument belongs into the path, the query or the body. Printed with ``-s``: what the stand-in leaves
out.
"""

from __future__ import annotations

import copy
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

pytest.importorskip("google.cloud.compute_v1", reason="google-cloud-compute is missing")
pytest.importorskip("googleapiclient.discovery", reason="google-api-python-client is missing")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "labs" / "gce"))

from fakegce import ApiError, Cloud, serve
from fakegce.bench import VM, Bench
from fakegce.estate import PROJECT, REGION, ZONE
from google.cloud import compute_v1
from googleapiclient import discovery

from quiesce.model.operation import Operation

GROUP = f"projects/{PROJECT}/regions/{REGION}/resourcePolicies/together"


@dataclass(frozen=True)
class Exchange:
    """One request of the provider, and its answer."""

    verb: str
    url: str
    body: dict[str, Any]
    method: str
    answer: dict[str, Any]


class Ears:
    """Hears everything that the stand-in is asked and answers."""

    def __init__(self, cloud: Cloud) -> None:
        self.heard: list[Exchange] = []
        self._handle = cloud.handle
        self.spec = cloud.spec

    def handle(self, verb: str, url: str, raw: bytes) -> tuple[str, Any]:
        method, answer = self._handle(verb, url, raw)
        self.heard.append(Exchange(verb, url, json.loads(raw or b"{}"), method, answer))
        return method, answer

    def named(self, method: str) -> dict[str, Any]:
        """Return what the discovery document says of a method."""
        _, resource, action = method.split(".")
        found: dict[str, Any] = self.spec.document["resources"][resource]["methods"][action]
        return found


@pytest.fixture(scope="module")
def ears() -> Iterator[Ears]:
    """Ears on everything that the provider does with machines: copies of each sort, restores, suspension."""
    running, cloud, url = serve(op_seconds=0.002, page=3)
    with pytest.MonkeyPatch.context() as patch:
        heard = Ears(cloud)
        patch.setattr(cloud, "handle", heard.handle)
        for options in (
            {"copy_as": "disks", "guest_flush": True},
            {"copy_as": "machine_image"},
            {"full": False},
        ):
            bench = Bench(cloud, url)
            bench.estate.machine_with_disks("vm", 2)
            _use(bench, **options)
        bench = Bench(cloud, url)
        cloud.consistency_groups.add("together")
        disks = [bench.estate.disk(name, resourcePolicies=[GROUP]) for name in ("d0", "d1")]
        bench.estate.machine("vm", disks)
        _use(bench, full=False)
        yield heard
    running.shutdown()
    running.server_close()


def _use(bench: Bench, **options: Any) -> None:
    full = options.get("full", True)
    artifact = bench.make("vm", **options)
    bench.do(Operation.APPLY, "vm", full=full, artifact=artifact)
    bench.do(Operation.SUSPEND, "vm")
    bench.do(Operation.RESUME, "vm")
    bench.do(Operation.MEASURE, "vm")
    bench.findings("vm")
    bench.estate.request("DELETE", f"zones/{ZONE}/instances/vm")
    bench.do(Operation.APPLY, "vm", full=full, artifact=artifact, execution="exec-2")
    bench.do(Operation.DELETE, "vm", full=full, artifact=artifact)
    assert bench.estate.find(VM)["status"] == "RUNNING"
    bench.provider.close()


def _type(schema: str) -> Any:
    return getattr(compute_v1, schema)


def test_googles_types_know_every_field_of_every_body(ears: Ears) -> None:
    unknown: set[str] = set()
    read: Counter[tuple[str, str]] = Counter()
    for exchange in ears.heard:
        told = ears.named(exchange.method)
        for part, body in (("request", exchange.body), ("response", exchange.answer)):
            if part in told and body:
                try:
                    _type(told[part]["$ref"]).from_json(json.dumps(body), ignore_unknown_fields=False)
                except Exception as error:
                    unknown.add(f"{exchange.method} {part}: {error}")
                read[exchange.method, part] += 1
    print(f"{read.total()} bodies of {len({method for method, _ in read})} methods read")
    # the one field that Google describes and its own types lack: see test_gcp_as_it_is.py
    assert all('no field named "sourceMachineImage"' in one for one in unknown), unknown
    assert {method for method, part in read if part == "request"} == set(_with_body(ears))
    assert {method for method, part in read if part == "response"} == {one.method for one in ears.heard}


def test_googles_client_puts_every_argument_where_the_provider_puts_it(ears: Ears) -> None:
    # a copy: Google's client writes its own parameters into the document that it is given
    service = discovery.build_from_document(copy.deepcopy(ears.spec.document), http=object())
    seen: set[str] = set()
    for exchange in ears.heard:
        _, resource, action = exchange.method.split(".")
        told, url = ears.named(exchange.method), urlsplit(exchange.url)
        path = re.sub(r"\{\+?(\w+)\}", r"(?P<\1>[^/]+)", told["path"])
        match = re.search(path + r"\Z", url.path)
        assert match is not None
        query = [pair for pair in parse_qsl(url.query) if pair[0] not in ("alt", "$alt")]
        arguments: dict[str, Any] = {name: unquote(value) for name, value in match.groupdict().items()}
        arguments |= {name: _typed(told["parameters"][name], value) for name, value in query}
        if "request" in told:
            arguments["body"] = exchange.body
        built = getattr(getattr(service, resource)(), action)(**arguments)
        wanted = urlsplit(built.uri)
        assert built.method == exchange.verb
        assert wanted.path.removeprefix("/compute/v1/") == url.path.removeprefix("/compute/v1/")
        assert sorted(pair for pair in parse_qsl(wanted.query) if pair[0] != "alt") == sorted(query)
        seen.add(exchange.method)
    print("built anew: " + ", ".join(sorted(seen)))
    assert "compute.disks.createSnapshot" in seen


def _typed(told: dict[str, Any], value: str) -> Any:
    kinds: dict[str, Any] = {"boolean": lambda text: text == "true", "integer": int}
    return kinds.get(told["type"], str)(value)


def _places(ears: Ears, method: str) -> tuple[dict[str, str], set[str], set[str]]:
    """Return the arguments of a method by place: values for its path, names in its query and in its body."""
    told = ears.named(method)
    placed = {name: one["location"] for name, one in told["parameters"].items()}
    path = {name: "a" for name, place in placed.items() if place == "path"}
    query = {name for name, place in placed.items() if place == "query"}
    return path, query, set(ears.spec.schemas[told["request"]["$ref"]].get("properties", {}))


def _with_body(ears: Ears) -> list[str]:
    """Return the methods that the provider uses and that take a body."""
    return sorted(method for method in {one.method for one in ears.heard} if "request" in ears.named(method))


def test_an_argument_of_the_query_is_refused_in_the_body(ears: Ears) -> None:
    """Of every method that the provider uses, every argument."""
    moved = set()
    for method in _with_body(ears):
        _, query, body = _places(ears, method)
        for name in query - body:
            assert ears.spec.problems(ears.named(method)["request"], {name: "x"}, "body"), (method, name)
            moved.add((method, name))
    print(f"{len(moved)} arguments of the query refused in the body")
    assert {("compute.instances.insert", "requestId"), ("compute.disks.insert", "requestId")} <= moved


def test_a_field_of_the_body_is_refused_in_the_query(ears: Ears) -> None:
    """Of every method that the provider uses, every field."""
    moved = set()
    for method in _with_body(ears):
        path, query, body = _places(ears, method)
        for name in body - query - path.keys():
            with pytest.raises(ApiError):
                ears.spec.arguments(ears.named(method), path, [(name, "x")])
            moved.add((method, name))
    print(f"{len(moved)} fields of the body refused in the query")
    assert {method for method, _ in moved} == set(_with_body(ears))


def _resources(found: Any) -> Iterator[dict[str, Any]]:
    """Yield everything in an answer that says its kind, lists left out."""
    if isinstance(found, list):
        for one in found:
            yield from _resources(one)
    elif isinstance(found, dict):
        if found.get("kind", "").startswith("compute#") and "items" not in found:
            yield found
        for one in found.values():
            yield from _resources(one)


def test_what_the_stand_in_leaves_out_is_printed(ears: Ears) -> None:
    answered: dict[str, set[str]] = defaultdict(set)
    for exchange in ears.heard:
        for one in _resources(exchange.answer):
            answered[one["kind"].removeprefix("compute#")] |= one.keys()
    methods = {one.method for one in ears.heard}
    every = {
        method["id"]
        for resource in ears.spec.document["resources"].values()
        for method in resource.get("methods", {}).values()
    }
    print(f"methods: {len(methods)} of {len(every)} of the API are used and answered")
    for kind, fields in sorted(answered.items()):
        schema = ears.spec.schemas.get(kind[0].upper() + kind[1:], {}).get("properties", {})
        missing = sorted(schema.keys() - fields)
        print(f"{kind}: answers {len(fields)} of {len(schema)} fields; never: {', '.join(missing)}")
    assert {"disk", "instance", "snapshot", "machineImage", "operation", "instantSnapshot"} <= answered.keys()
