"""What is typed, posted or kept in files by operators: often taken from elsewhere, a wiki or another tool."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

from quiesce.app.elsewhere import read_pairs
from quiesce.app.policies.policies import read_policy
from quiesce.app.policies.schedule import last_due, next_due
from quiesce.blueprint.instances.local_profile import read_cfy_local
from quiesce.cli.commands import policies
from quiesce.cli.values import read_age, read_assignments, read_inputs
from quiesce.errors import QuiesceError
from quiesce.model.ids import DeploymentName, InstanceId, NodeId
from quiesce.model.topology import Instance, Topology
from quiesce.planning import WORKFLOWS, read_parameters
from quiesce.storage.urls import parse_url
from tests.fuzz.parsing import Parser, Silent, scratch

_NOW: Final = 1_780_000_000.0


def _services() -> Any:
    given = mock.Mock(descriptions=())
    given.clock.now.return_value = _NOW
    found = given.deployments.get.return_value
    found.name = DeploymentName("shop")
    return given


# -- policies --

POLICIES: Final = (
    b"""\
policies:
  - deployment: shop
    name: nightly
    schedule: '30 2 * * *'
    timezone: Europe/Berlin
    jitter: 10m
    kind: backup
    keep_daily: 7
    keep_within: 36h
    max_frozen: 30
    at_least: filesystem
    verify_every: 7d
    catch_up: true
    notify: [operators]
    parameters: {exclude_nodes: [db], parallel: 3}
  - {deployment: shop, name: hourly, schedule: '@hourly', keep_last: 24}
""",
    b'{"policies": [{"deployment": "shop", "name": "n", "schedule": "*/5 0-3,7 1,L * mon#1"}]}',
)


def _parse_policies(data: bytes) -> None:
    path = scratch() / "policies.yaml"
    path.write_bytes(data)
    given = _services()
    for described in policies._listed(path):
        with contextlib.suppress(QuiesceError):
            found = policies._described(given, described)
            next_due(found, _NOW)
            last_due(found, _NOW)
            json.dumps(found.given)
    with contextlib.suppress(QuiesceError):
        read_inputs([str(path)])


def _parse_keys(data: bytes) -> None:
    """KEY=VALUE words of ``policy set``, and ages."""
    words = _words(data)
    with contextlib.suppress(QuiesceError):
        read_policy(_services(), "shop", words[0], read_assignments(words[1:]))
    for word in words:
        with contextlib.suppress(QuiesceError):
            read_age(word)


# -- parameters --

_INSTANCES: Final = {
    InstanceId(name): Instance(id=InstanceId(name), node=NodeId("db")) for name in ("db_1", "db_2")
}
_TOPOLOGY: Final = Topology(nodes={}, instances=_INSTANCES)


def _parse_parameters(data: bytes) -> None:
    """NAME=VALUE words, as parameters of every workflow; ``--map`` among them."""
    assignments = read_assignments(_words(data))
    for workflow in WORKFLOWS:
        with contextlib.suppress(QuiesceError):
            read = read_parameters(workflow, assignments, now=_NOW, allow_custom=True)
            read_pairs(read.map, _TOPOLOGY, _TOPOLOGY)
    for pair in assignments.values():
        with contextlib.suppress(QuiesceError):
            read_pairs([str(pair)], _TOPOLOGY, _TOPOLOGY)


def _words(data: bytes) -> list[str]:
    """Return *data* as a shell hands words over: without NUL, bytes that are no text as surrogates."""
    return [os.fsdecode(word) for word in data.replace(b"\0", b"").split(b"\n")]


PARAMETERS: Final = (
    b"snapshot_name=one\nto=other\nmap=db_1=db_2,db_2=\nmax_freeze=30s\nparallel=3",
    b'snapshot_name=one\ninclude_nodes=["db"]\nkeep_undo=48h\nverify_first=quick\nlibvirt_exclude_disks=["a"]',
    b"all=true\nundo_to=former\ntarget=/srv/out\noperation_timeout=1.5m\nmin_consistency=crash",
)


def _parse_url(data: bytes) -> None:
    str(parse_url(os.fsdecode(data)))


URLS: Final = (
    b"s3://bucket/prefix?endpoint=https://h:9000&region=r&addressing=path&credentials=name",
    b"sftp://user@h:22/~/backup?known_hosts=/etc/known", b"file:///srv/a%20b", b"az://container?account=a",
)  # fmt: skip


# -- the console --


class _Request:
    """A request that somebody sends who is logged in: its head in the first line, its body in the rest."""

    def __init__(self, data: bytes) -> None:
        from starlette.requests import Request

        length, _, body = data.partition(b"\n")
        headers = [(b"content-type", b"application/x-www-form-urlencoded"), (b"content-length", length)]
        scope = {
            "type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": body,
            "path_params": {"deployment": "shop", "workflow": "backup"},
        }  # fmt: skip
        self._pieces = [body[:100], body[100:]]
        self.request = Request(scope, self._receive)

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self._pieces.pop(0), "more_body": bool(self._pieces)}


@functools.cache
def _admin() -> Any:
    from quiesce.service.access import ConsoleSession
    from quiesce.service.users import ConsoleUser, UserRole

    return ConsoleSession(user=ConsoleUser(name="ada", role=UserRole.ADMIN, digest=""), csrf="c", ends=0)


@functools.cache
def _console() -> tuple[Any, Any]:
    from quiesce.service.actions import Actions
    from quiesce.service.pages import Pages

    # nothing that remembers how it was called: it is called a million times
    launcher = SimpleNamespace(start=lambda *_: None)
    return Pages(_empty(), Silent()), Actions(_empty(), launcher, Silent())  # type: ignore[arg-type]


def _empty() -> Any:
    """Return services of a home with one deployment, of which nothing is known."""
    nothing: Any = SimpleNamespace(
        get=lambda _: SimpleNamespace(name=DeploymentName("shop")),
        names=list, list=lambda *_: [], open_ones=lambda *_: [], newest=lambda _: {}, now=lambda: _NOW,
    )  # fmt: skip
    return SimpleNamespace(
        deployments=nothing, policies=nothing, executions=nothing, catalog=nothing, clock=nothing
    )


def _parse_form(data: bytes) -> None:
    from quiesce.service import app

    pages, actions = _console()
    sent = _Request(data)
    with contextlib.suppress(QuiesceError):
        pages.home(sent.request, _admin())
    form = _loop().run_until_complete(app._form(sent.request))
    actions.run(sent.request, _admin(), form)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


FORMS: Final = (
    b"40\ncsrf=aaaa&snapshot_name=one&kind=snapshot&page=2",
    b"9\nq=%C2%B2&page=1&kind=backup",
)


# -- what cfy keeps of a deployment --

_DEPLOYMENT: Final = {
    "blueprint_id": "b", "inputs": {"a": 1},
    "nodes": {"db": {"relationships": [{"type": "r", "type_hierarchy": ["r"]}]}},
}  # fmt: skip
_NODE_INSTANCE: Final = {
    "id": "db_1", "node_id": "db", "runtime_properties": {"a": None},
    "relationships": [{"target_id": "vm_1", "type": "r"}], "scaling_groups": [{"id": "g_1"}],
}  # fmt: skip
_BLUEPRINT: Final = {"blueprint_filename": "b.yaml", "blueprint_path": "/b/b.yaml"}
PROFILE: Final = tuple(json.dumps(part).encode() for part in (_DEPLOYMENT, _NODE_INSTANCE, _BLUEPRINT))


def _parse_profile(data: bytes) -> None:
    top = scratch() / "profile"
    files = (
        top / "deployments/d/deployment.json",
        top / "deployments/d/node-instances/db_1.json",
        top / "blueprints/b/blueprint.json",
    )
    for replaced in files:
        for path, content in zip(files, PROFILE, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if path == replaced else content)
        with contextlib.suppress(QuiesceError):
            read_cfy_local(top, "d")


PARSERS: Final = {
    "policies": Parser(seeds=POLICIES, parse=_parse_policies),
    "policy-keys": Parser(
        seeds=(b"nightly\nschedule=30 2 * * *\nkind=backup\nkeep_daily=7\njitter=10m\nnotify=a,b",),
        parse=_parse_keys,
    ),
    "parameters": Parser(seeds=PARAMETERS, parse=_parse_parameters),
    "storage-url": Parser(seeds=URLS, parse=_parse_url),
    "console-form": Parser(seeds=FORMS, parse=_parse_form, needs="starlette"),
    "cfy-profile": Parser(seeds=PROFILE, parse=_parse_profile),
}
