"""State and semantics of the stand-in. Time is lazy: effects that are due happen when a request arrives."""

from __future__ import annotations

import base64
import copy
import datetime as dt
import hashlib
import json
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fakegce.faults import Fault
from fakegce.spec import ApiError, Spec

Resource = dict[str, Any]
Context = dict[str, Any]

#: a suspended machine is stopped by the service after so long, in seconds
LONGEST_SUSPENSION_S = 60 * 86400
_COLLECTIONS = {"regionDisks": "disks", "regionInstantSnapshots": "instantSnapshots"}
_PERMISSION_VERBS = {"insert": "create"}
_ON_ITS_WAY = ("PROVISIONING", "STAGING", "STOPPING", "SUSPENDING", "REPAIRING")


class LostError(Exception):
    """The request was served, and its answer must not arrive."""


class Operation:
    """One asynchronous operation: effects at their due times, then its end."""

    def __init__(self, resource: Resource, stages: list[tuple[float, Callable[[], None]]]) -> None:
        self.resource = resource
        self.stages = deque(stages)
        self.error: tuple[str, str, int] | None = None
        self.undo: Callable[[], None] | None = None


class Cloud:
    """One project's resources. One lock: requests are small."""

    def __init__(
        self,
        root: str = "http://127.0.0.1",
        *,
        op_seconds: float = 0.2,
        cut_seconds: float | None = None,
        upload_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        zones: Iterable[str] = ("us-central1-a", "us-central1-b"),
        page: int = 500,
    ) -> None:
        self.spec = Spec()
        self.root, self.clock, self.zones, self.page_size = root, clock, tuple(zones), page
        self.regions = tuple(sorted({zone.rpartition("-")[0] for zone in self.zones}))
        #: how long operations take; of copies: until the point in time is fixed, and the upload after it
        self.op_seconds = op_seconds
        self.cut_seconds = op_seconds if cut_seconds is None else cut_seconds
        self.upload_seconds = op_seconds if upload_seconds is None else upload_seconds
        self.lock = threading.RLock()
        self.seq = 10**15
        self.reset()

    def reset(self) -> None:
        """Forget everything that is and was."""
        with self.lock:
            #: (collection, scope, name) -> resource
            self.items: dict[tuple[str, str, str], Resource] = {}
            self.operations: dict[str, Operation] = {}
            #: those of them that are not done
            self.running: dict[str, Operation] = {}
            self.by_request: dict[str, str] = {}
            #: what a disk, or a disk in a copy, holds: by id, and for machine images by id and device
            self.contents: dict[str, str] = {}
            #: when disks had their latest instant snapshots
            self.instants: dict[str, float] = {}
            #: when machines were suspended
            self.suspended_at: dict[str, float] = {}
            self.faults: list[Fault] = []
            self.log: list[tuple[str, str, str | None, int]] = []
            #: of every request that was understood
            self.urls: list[str] = []
            self.denied: set[str] = set()
            #: told each method's id before it is served, and after
            self.before: Callable[[str], None] = lambda _: None
            self.after: Callable[[str], None] = lambda _: None
            self.disk_quota_gb = 1 << 20
            #: disk types without instant snapshots
            self.no_instant = {"pd-extreme"}
            #: whether disks can be made from machine images: in the discovery document, not for everybody
            self.disks_of_images = True
            #: how far instant snapshots of one disk must be apart, and how many it may have
            self.instant_gap_s, self.most_instants = 0.0, 32
            #: resource policies that are consistency groups, by name
            self.consistency_groups: set[str] = set()
            #: resource policies and storage pools that are gone
            self.gone: set[str] = set()

    # -- helpers ----------------------------------------------------------------------------------------

    def now(self) -> str:
        zone = dt.timezone(dt.timedelta(hours=-8))
        return dt.datetime.now(zone).isoformat(timespec="milliseconds")

    def link(self, project: str, scope: str, collection: str = "", name: str = "") -> str:
        return f"{self.root}/compute/v1/projects/{project}/{scope}" + (
            f"/{collection}/{name}" if collection else ""
        )

    def get(self, collection: str, scope: str, name: str, project: str) -> Resource:
        found = self.items.get((collection, scope, name))
        if found is None:
            path = f"projects/{project}/{scope}/{collection}/{name}"
            raise ApiError(404, "notFound", f"The resource '{path}' was not found")
        return found

    def by_url(self, url: str | None, project: str) -> Resource:
        pattern = r"(?:.*/)?(?:projects/[^/]+/)?((?:zones|regions)/[^/]+|global)/(\w+)/([^/]+)"
        match = re.fullmatch(pattern, url or "")
        if match is None:
            raise ApiError(400, "invalid", f"Invalid value for field: '{url}'. The URL is malformed.")
        return self.get(match[2], match[1], match[3], project)

    def add(self, collection: str, ctx: Context, body: Resource, kind: str, **fields: Any) -> Resource:
        name, scope, project = body["name"], fields.pop("scope", ctx["scope"]), ctx["project"]
        self._absent(collection, ctx | {"scope": scope}, name)
        self.seq += 1
        resource = {
            **copy.deepcopy(body),
            "kind": f"compute#{kind}",
            "id": str(self.seq),
            "creationTimestamp": self.now(),
            "selfLink": self.link(project, scope, collection, name),
            "labelFingerprint": fingerprint(body.get("labels", {})),
            **fields,
        }
        if scope != "global":
            resource[scope.split("/")[0][:-1]] = self.link(project, scope)
        self.items[collection, scope, name] = resource
        return resource

    def _absent(self, collection: str, ctx: Context, name: str) -> None:
        if (collection, ctx["scope"], name) in self.items:
            path = f"projects/{ctx['project']}/{ctx['scope']}/{collection}/{name}"
            raise ApiError(409, "alreadyExists", f"The resource '{path}' already exists")

    def begin(
        self,
        ctx: Context,
        verb: str,
        target: Resource,
        *stages: tuple[float, Callable[[], None]],
        error: tuple[str, str, int] | None = None,
        scope: str | None = None,
    ) -> Resource:
        """Return a new operation; *stages* are (seconds from now, effect), the last one ends it."""
        self.seq += 1
        scope = scope or ctx["scope"]
        name = f"operation-{self.seq}-{uuid.uuid4().hex[:8]}"
        resource = {
            "kind": "compute#operation",
            "id": str(self.seq),
            "name": name,
            "operationType": verb,
            "status": "PENDING",
            "progress": 0,
            "user": "lab@example.com",
            "insertTime": self.now(),
            "startTime": self.now(),
            "targetLink": target["selfLink"],
            "targetId": target["id"],
            "selfLink": self.link(ctx["project"], scope, "operations", name),
        }
        if scope != "global":
            resource[scope.split("/")[0][:-1]] = self.link(ctx["project"], scope)
        began = self.clock()
        operation = Operation(resource, [(began + after, effect) for after, effect in stages])
        operation.error, operation.undo = error, ctx.get("undo")
        for fault in self.faults:
            if fault.kind == "operation" and fault.strikes(ctx["id"], ctx.get("name")):
                operation.error = (fault.code, fault.message, fault.status)
        self.operations[name] = self.running[name] = operation
        if ctx.get("requestId"):
            self.by_request[ctx["requestId"]] = name
        return resource

    def tick(self) -> None:
        """Let everything happen that is due."""
        for name, operation in list(self.running.items()):
            self._advance(operation)
            if operation.resource["status"] == "DONE":
                del self.running[name]
        for link, since in list(self.suspended_at.items()):
            machine = next((item for item in self.items.values() if item["selfLink"] == link), None)
            if machine and machine["status"] == "SUSPENDED" and self.clock() - since > LONGEST_SUSPENSION_S:
                machine["status"] = "TERMINATED"

    def _advance(self, operation: Operation) -> None:
        while operation.stages and operation.stages[0][0] <= self.clock():
            last = len(operation.stages) == 1
            _, effect = operation.stages.popleft()
            if last and operation.error:
                break
            try:
                effect()
            except ApiError as error:
                operation.error = (error.reason.upper(), error.message, error.status)
                operation.stages.clear()
        if operation.stages:
            operation.resource.update(status="RUNNING", progress=50)
            return
        operation.resource.update(status="DONE", progress=100, endTime=self.now())
        if operation.error:
            code, message, status = operation.error
            if operation.undo:
                operation.undo()
            operation.resource.update(
                error={"errors": [{"code": code, "message": message}]},
                httpErrorStatusCode=status,
                httpErrorMessage="BAD REQUEST",
            )

    # -- one request --------------------------------------------------------------------------------------

    def handle(self, verb: str, url: str, raw: bytes) -> tuple[str, Resource]:
        """Return the method's id and its answer.

        Raises:
            ApiError: the answer is an error.
            LostError: it was served, and the answer must not arrive.
        """
        parts = urlsplit(url)
        with self.lock:
            self.tick()
            method, path = self.spec.route(verb, parts.path)
            query = parse_qsl(parts.query, keep_blank_values=True)
            args = self.spec.arguments(method, path, query)
            body = self._body(method, raw)
            ctx = self._context(method, args, body)
            self.urls.append(url)
            self.before(method["id"])
            answer = self._early_answer(ctx)
            handler = self._handler(ctx)
        if answer is None:
            answer = handler(ctx, body)  # locks by itself: wait blocks
        with self.lock:
            answer = copy.deepcopy(answer)
        bad = self.spec.problems(method["response"], answer, method["response"]["$ref"])
        if bad:
            raise ApiError(500, "labResponseInvalid", f"{method['id']} answer: {'; '.join(bad[:5])}")
        self.after(method["id"])
        if any(fault.kind == "lost" and fault.strikes(ctx["id"], ctx.get("name")) for fault in self.faults):
            raise LostError(method["id"])
        return method["id"], answer

    def _body(self, method: Resource, raw: bytes) -> Resource | None:
        if "request" not in method:
            if raw not in (b"", b"{}"):
                raise ApiError(400, "parseError", f"{method['id']} takes no body")
            return None
        try:
            body = json.loads(raw or b"{}")
        except ValueError:
            raise ApiError(400, "parseError", "Parse Error") from None
        bad = self.spec.problems(method["request"], body, method["request"]["$ref"], method["id"])
        if bad:
            raise ApiError(400, "invalid", f"Invalid value for field: {'; '.join(bad[:5])}")
        return body

    def _context(self, method: Resource, args: dict[str, Any], body: Resource | None) -> Context:
        scope = "global"
        if "zone" in args:
            scope = f"zones/{args['zone']}"
            self._known(args["zone"], self.zones, f"projects/{args['project']}/{scope}")
        elif "region" in args and method["id"] != "compute.regions.get":
            scope = f"regions/{args['region']}"
            self._known(args["region"], self.regions, f"projects/{args['project']}/{scope}")
        _, resource, action = method["id"].split(".")
        order = [p for p in method.get("parameterOrder", []) if p not in ("project", "zone", "region")]
        leaf = next((args[p] for p in reversed(order) if p in args), None)
        return {
            **args,
            "id": method["id"],
            "scope": scope,
            "resource": resource,
            "action": action,
            "collection": _COLLECTIONS.get(resource, resource),
            "leaf": leaf,
            "name": leaf or (body or {}).get("name"),
        }

    def _known(self, place: str, places: Iterable[str], path: str) -> None:
        if place not in places:
            raise ApiError(404, "notFound", f"The resource '{path}' was not found")

    def _early_answer(self, ctx: Context) -> Resource | None:
        """Refuse what is planted or forbidden; a known request id gets the operation that it began."""
        for fault in self.faults:
            if fault.kind == "http" and fault.strikes(ctx["id"], ctx.get("name")):
                raise ApiError(fault.status, fault.reason, fault.message)
        verb = _PERMISSION_VERBS.get(ctx["action"], ctx["action"])
        if f"compute.{ctx['collection']}.{verb}" in self.denied:
            raise ApiError(403, "forbidden", f"Required 'compute.{ctx['collection']}.{verb}' permission")
        request = ctx.get("requestId")
        if request:
            try:
                uuid.UUID(request)
            except ValueError:
                raise ApiError(400, "invalid", "Invalid value for field 'requestId'") from None
        if request in self.by_request:
            return self.operations[self.by_request[request]].resource
        return None

    def _handler(self, ctx: Context) -> Callable[[Context, Any], Resource]:
        for name in (f"{ctx['collection']}_{ctx['action']}", f"any_{ctx['action']}"):
            handler = getattr(self, name, None)
            if handler:
                return handler
        raise ApiError(501, "notImplemented", f"the lab has no {ctx['id']}")

    # -- any collection -----------------------------------------------------------------------------------

    def any_get(self, ctx: Context, _: None) -> Resource:
        with self.lock:
            return self.get(ctx["collection"], ctx["scope"], ctx["leaf"], ctx["project"])

    def any_list(self, ctx: Context, _: None) -> Resource:
        with self.lock:
            if ctx["resource"].endswith("Operations"):
                rows = [operation.resource for operation in self.operations.values()]
            else:
                here = (ctx["collection"], ctx["scope"])
                rows = [item for (coll, scope, _), item in self.items.items() if (coll, scope) == here]
            part, token = self._page(ctx, rows)
            kind = "operation" if ctx["resource"].endswith("Operations") else ctx["collection"][:-1]
            answer = {
                "kind": f"compute#{kind}List",
                "id": f"projects/{ctx['project']}/{ctx['scope']}/{ctx['collection']}",
                "items": part,
                "selfLink": self.link(ctx["project"], ctx["scope"]) + f"/{ctx['collection']}",
            }
            return answer | ({"nextPageToken": token} if token else {})

    def any_aggregatedList(self, ctx: Context, _: None) -> Resource:  # noqa: N802  named by the service
        with self.lock:
            rows = [item for (coll, _, _), item in self.items.items() if coll == ctx["collection"]]
            part, token = self._page(ctx, rows)
            scopes = [f"zones/{zone}" for zone in self.zones] + [
                f"regions/{region}" for region in self.regions
            ]
            items = {scope: self._scoped(ctx["collection"], scope, part) for scope in scopes}
            answer = {
                "kind": f"compute#{ctx['collection'][:-1]}AggregatedList",
                "id": f"projects/{ctx['project']}/aggregated/{ctx['collection']}",
                "items": items,
                "selfLink": self.link(ctx["project"], f"aggregated/{ctx['collection']}"),
            }
            return answer | ({"nextPageToken": token} if token else {})

    def _scoped(self, collection: str, scope: str, rows: list[Resource]) -> Resource:
        mine = [row for row in rows if f"/{scope}/" in row["selfLink"]]
        if mine:
            return {collection: mine}
        return {
            "warning": {
                "code": "NO_RESULTS_ON_PAGE",
                "message": f"There are no results for scope '{scope}' on this page.",
                "data": [{"key": "scope", "value": scope}],
            }
        }

    def _page(self, ctx: Context, rows: list[Resource]) -> tuple[list[Resource], str | None]:
        rows = [row for row in rows if matches(ctx.get("filter"), row)]
        try:
            at = int(base64.urlsafe_b64decode(ctx.get("pageToken") or "MA=="))
        except ValueError:
            raise ApiError(400, "invalid", "Invalid value for field 'pageToken'") from None
        size = min(ctx.get("maxResults") or 500, self.page_size)
        more = at + size < len(rows)
        token = base64.urlsafe_b64encode(str(at + size).encode()).decode() if more else None
        return rows[at : at + size], token

    def any_delete(self, ctx: Context, _: None) -> Resource:
        with self.lock:
            found = self.get(ctx["collection"], ctx["scope"], ctx["leaf"], ctx["project"])
            if found.get("users"):
                raise in_use(ctx["collection"][:-1], found)
            if found.get("status") == "CREATING":
                raise not_ready(found)
            if ctx["collection"] in ("snapshots", "machineImages", "instantSnapshots"):
                found["status"] = "DELETING"
            key = (ctx["collection"], ctx["scope"], ctx["leaf"])
            return self.begin(ctx, "delete", found, (self.op_seconds, lambda: self._forget(key)))

    def _forget(self, key: tuple[str, str, str]) -> None:
        found = self.items.pop(key, None)
        if found and key[0] == "disks":
            for other, item in list(self.items.items()):
                if other[0] == "instantSnapshots" and item.get("sourceDiskId") == found["id"]:
                    del self.items[other]

    def any_setLabels(self, ctx: Context, body: Resource) -> Resource:  # noqa: N802
        with self.lock:
            found = self.get(ctx["collection"], ctx["scope"], ctx["leaf"], ctx["project"])
            if body.get("labelFingerprint") != found["labelFingerprint"]:
                raise ApiError(412, "conditionNotMet", "Labels fingerprint invalid or labels have changed")

            def apply() -> None:
                found["labels"] = body.get("labels", {})
                found["labelFingerprint"] = fingerprint([found["labels"], self.seq])

            return self.begin(ctx, "setLabels", found, (self.op_seconds, apply))

    def any_testIamPermissions(self, ctx: Context, body: Resource) -> Resource:  # noqa: N802
        with self.lock:
            self.get(ctx["collection"], ctx["scope"], ctx["leaf"], ctx["project"])
            granted = [wanted for wanted in body.get("permissions", []) if wanted not in self.denied]
            return {"permissions": granted}

    # -- operations, types, quotas ------------------------------------------------------------------------

    def _operation(self, ctx: Context) -> Resource:
        found = self.operations.get(ctx["operation"])
        here = f"projects/{ctx['project']}/{ctx['scope']}/"
        if found is None or not found.resource["selfLink"].split("/v1/")[1].startswith(here):
            raise ApiError(
                404, "notFound", f"The resource '{here}operations/{ctx['operation']}' was not found"
            )
        return found.resource

    def zoneOperations_get(self, ctx: Context, _: None) -> Resource:  # noqa: N802
        with self.lock:
            return self._operation(ctx)

    def zoneOperations_wait(self, ctx: Context, _: None) -> Resource:  # noqa: N802
        """Return when it is done, or after two minutes, or when a fault says so."""
        end = time.monotonic() + 120
        with self.lock:
            undone = any(f.kind == "undone" and f.strikes(ctx["id"], ctx["name"]) for f in self.faults)
        while True:
            with self.lock:
                self.tick()
                found = self._operation(ctx)
                if undone or found["status"] == "DONE" or time.monotonic() > end:
                    return found
                left = self.operations[found["name"]].stages[0][0] - self.clock()
            time.sleep(max(0.002, min(left, 0.1)))

    globalOperations_get = regionOperations_get = zoneOperations_get  # noqa: N815
    globalOperations_wait = regionOperations_wait = zoneOperations_wait  # noqa: N815

    def machineTypes_get(self, ctx: Context, _: None) -> Resource:  # noqa: N802
        name = ctx["leaf"]
        link = self.link(ctx["project"], ctx["scope"], "machineTypes", name)
        return {
            "kind": "compute#machineType",
            "id": "7",
            "name": name,
            "guestCpus": 2,
            "memoryMb": 8192,
            "selfLink": link,
        }

    def projects_get(self, ctx: Context, _: None) -> Resource:
        with self.lock:
            used = sum(1 for collection, _, _ in self.items if collection == "snapshots")
        quota = {"metric": "SNAPSHOTS", "limit": 5000.0, "usage": float(used)}
        return {"kind": "compute#project", "id": "1", "name": ctx["project"], "quotas": [quota]}

    def regions_get(self, ctx: Context, _: None) -> Resource:
        with self.lock:
            used = self._used_gb()
        quota = {"metric": "DISKS_TOTAL_GB", "limit": float(self.disk_quota_gb), "usage": float(used)}
        return {"kind": "compute#region", "id": "2", "name": ctx["region"], "status": "UP", "quotas": [quota]}

    # -- machines -----------------------------------------------------------------------------------------

    def instances_insert(self, ctx: Context, body: Resource) -> Resource:
        with self.lock:
            self._absent("instances", ctx, body["name"])
            image = None
            if ctx.get("sourceMachineImage"):
                image = self.by_url(ctx["sourceMachineImage"], ctx["project"])
                body = {**copy.deepcopy(image["instanceProperties"]), **body}
                machine_type = body["machineType"].split("/")[-1]
                body["machineType"] = self.link(ctx["project"], ctx["scope"], "machineTypes", machine_type)
            if not body.get("machineType") or not body.get("disks"):
                raise ApiError(400, "required", "Required field 'resource.machineType' / 'resource.disks'")
            fresh: list[Resource] = []
            disks = [self._disk_for(ctx, body, entry, image, fresh) for entry in body["disks"]]
            interfaces = body.get("networkInterfaces") or [{"network": "global/networks/default"}]
            machine = self.add(
                "instances",
                ctx,
                body,
                "instance",
                status="PROVISIONING",
                disks=[],
                fingerprint=fingerprint(body),
                networkInterfaces=[{**each, "name": f"nic{n}"} for n, each in enumerate(interfaces)],
            )
            for disk, entry in zip(disks, body["disks"], strict=True):
                self._attach(machine, disk, entry)

            def undo() -> None:
                self.items.pop(("instances", ctx["scope"], machine["name"]), None)
                for disk in fresh:
                    self.items.pop(("disks", ctx["scope"], disk["name"]), None)
                for disk in disks:
                    if disk is not None:
                        disk["users"] = [
                            user for user in disk.get("users", []) if user != machine["selfLink"]
                        ]

            def apply() -> None:
                machine.update(status="RUNNING", lastStartTimestamp=self.now())
                for disk in fresh:
                    disk["status"] = "READY"

            ctx["undo"] = undo
            return self.begin(ctx, "insert", machine, (self.op_seconds, apply))

    def _disk_for(
        self, ctx: Context, body: Resource, entry: Resource, image: Resource | None, fresh: list[Resource]
    ) -> Resource | None:
        if entry.get("type") == "SCRATCH":
            return None
        if entry.get("source"):
            disk = self.by_url(entry["source"], ctx["project"])
            self._free(disk)
            return disk
        wanted = entry.get("initializeParams", {})
        count = len(fresh)
        name = wanted.get("diskName") or (f"{body['name']}-{count}" if count else body["name"])
        size = str(wanted.get("diskSizeGb") or 10)
        source = {"sourceImage": wanted["sourceImage"]} if "sourceImage" in wanted else {}
        disk = self._new_disk(ctx, {"name": name, "sizeGb": size, **source})
        if image:
            self.contents[disk["id"]] = self.contents.get(f"{image['id']}/{entry['deviceName']}", "")
        fresh.append(disk)
        return disk

    def instances_delete(self, ctx: Context, _: None) -> Resource:
        with self.lock:
            machine = self.get("instances", ctx["scope"], ctx["leaf"], ctx["project"])
            if machine.get("deletionProtection"):
                raise ApiError(
                    400, "invalid", "Resource cannot be deleted if it's protected against deletion."
                )
            machine["status"] = "STOPPING"

            def apply() -> None:
                for attached in machine["disks"]:
                    if attached["type"] == "SCRATCH":
                        continue
                    disk = self.by_url(attached["source"], ctx["project"])
                    disk["users"] = [user for user in disk.get("users", []) if user != machine["selfLink"]]
                    if attached.get("autoDelete"):
                        self.items.pop(("disks", disk_scope(disk), disk["name"]), None)
                self.items.pop(("instances", ctx["scope"], ctx["leaf"]), None)

            return self.begin(ctx, "delete", machine, (self.op_seconds, apply))

    def _move(self, ctx: Context, verb: str, allowed: tuple[str, ...], via: str, to: str) -> Resource:
        with self.lock:
            machine = self.get("instances", ctx["scope"], ctx["leaf"], ctx["project"])
            if machine["status"] == to:
                return self.begin(ctx, verb, machine, (0.0, lambda: None))
            if machine["status"] in _ON_ITS_WAY:
                raise not_ready(machine)
            if machine["status"] not in allowed:
                text = f"Instance {machine['name']} is in state {machine['status']}"
                raise ApiError(400, "invalid", f"{text}; {verb} needs {' or '.join(allowed)}")
            was, machine["status"] = machine["status"], via
            stamp = {"SUSPENDED": "Suspended", "RUNNING": "Start", "TERMINATED": "Stop"}[to]

            def apply() -> None:
                machine.update({"status": to, f"last{stamp}Timestamp": self.now()})
                if to == "SUSPENDED":
                    self.suspended_at[machine["selfLink"]] = self.clock()

            ctx["undo"] = lambda: machine.update(status=was)
            return self.begin(ctx, verb, machine, (self.op_seconds, apply))

    def instances_suspend(self, ctx: Context, _: None) -> Resource:
        with self.lock:
            machine = self.get("instances", ctx["scope"], ctx["leaf"], ctx["project"])
            if machine.get("guestAccelerators"):
                raise ApiError(400, "invalid", "Suspending instances with GPUs is not supported.")
            if machine.get("confidentialInstanceConfig", {}).get("enableConfidentialCompute"):
                raise ApiError(400, "invalid", "Suspending Confidential VMs is not supported.")
            self._need_ssd_choice(ctx, machine)
            why = {
                "TERMINATED": "an instance that is stopped or terminated",
                "REPAIRING": "an instance that is being repaired",
                "SUSPENDED": "an already suspended instance",
            }.get(machine["status"])
            if why:
                error = ("UNSUPPORTED_OPERATION", f"You cannot suspend {why}.", 400)
                return self.begin(ctx, "suspend", machine, (0.0, lambda: None), error=error)
        return self._move(ctx, "suspend", ("RUNNING",), "SUSPENDING", "SUSPENDED")

    def instances_resume(self, ctx: Context, _: None) -> Resource:
        return self._move(ctx, "resume", ("SUSPENDED",), "STAGING", "RUNNING")

    def instances_start(self, ctx: Context, _: None) -> Resource:
        return self._move(ctx, "start", ("TERMINATED",), "STAGING", "RUNNING")

    def instances_stop(self, ctx: Context, _: None) -> Resource:
        with self.lock:
            machine = self.get("instances", ctx["scope"], ctx["leaf"], ctx["project"])
            self._need_ssd_choice(ctx, machine)
        return self._move(ctx, "stop", ("RUNNING", "SUSPENDED"), "STOPPING", "TERMINATED")

    def _need_ssd_choice(self, ctx: Context, machine: Resource) -> None:
        scratch = [disk for disk in machine["disks"] if disk["type"] == "SCRATCH"]
        if scratch and "discardLocalSsd" not in ctx:
            raise ApiError(
                400, "badRequest", "VM has a Local SSD attached but no value for discard-local-ssd."
            )

    def _free(self, disk: Resource) -> None:
        if disk.get("users"):
            raise in_use("disk", disk)

    def _attach(self, machine: Resource, disk: Resource | None, spec: Resource) -> None:
        number = max((attached["index"] for attached in machine["disks"]), default=-1) + 1
        attached = {
            "kind": "compute#attachedDisk",
            "type": "PERSISTENT" if disk else "SCRATCH",
            "mode": spec.get("mode", "READ_WRITE"),
            "deviceName": spec.get("deviceName") or f"persistent-disk-{number}",
            "index": number,
            "boot": spec.get("boot", False),
            "autoDelete": spec.get("autoDelete", False),
            "interface": spec.get("interface", "SCSI"),
            "diskSizeGb": disk["sizeGb"] if disk else "375",
        }
        if disk:
            if "diskEncryptionKey" in disk:
                attached["diskEncryptionKey"] = disk["diskEncryptionKey"]
            attached["source"] = disk["selfLink"]
            disk.setdefault("users", []).append(machine["selfLink"])
            disk["lastAttachTimestamp"] = self.now()
        machine["disks"].append(attached)

    def instances_attachDisk(self, ctx: Context, body: Resource) -> Resource:  # noqa: N802
        with self.lock:
            machine = self.get("instances", ctx["scope"], ctx["leaf"], ctx["project"])
            disk = self.by_url(body.get("source"), ctx["project"])
            self._free(disk)
            if disk["status"] != "READY":
                raise not_ready(disk)
            if any(attached["deviceName"] == body.get("deviceName") for attached in machine["disks"]):
                raise ApiError(400, "invalid", f"The device name '{body['deviceName']}' is already used")
            if body.get("boot") and machine["status"] != "TERMINATED":
                raise ApiError(400, "invalid", "A boot disk can only be attached to a stopped instance")

            def apply() -> None:
                self._free(disk)
                self._attach(machine, disk, body)

            return self.begin(ctx, "attachDisk", machine, (self.op_seconds, apply))

    def instances_detachDisk(self, ctx: Context, _: None) -> Resource:  # noqa: N802
        with self.lock:
            machine = self.get("instances", ctx["scope"], ctx["instance"], ctx["project"])
            wanted = ctx["deviceName"]
            attached = next((disk for disk in machine["disks"] if disk["deviceName"] == wanted), None)
            if attached is None:
                raise ApiError(400, "invalid", f"No attached disk found with device name '{wanted}'")
            if attached["boot"] and machine["status"] != "TERMINATED":
                raise ApiError(
                    400, "invalid", "Cannot detach the boot disk of an instance that is not stopped"
                )
            disk = self.by_url(attached["source"], ctx["project"])

            def apply() -> None:
                if attached in machine["disks"]:
                    machine["disks"].remove(attached)
                disk["users"] = [user for user in disk["users"] if user != machine["selfLink"]]

            return self.begin(ctx, "detachDisk", machine, (self.op_seconds, apply))

    # -- disks --------------------------------------------------------------------------------------------

    def _used_gb(self) -> int:
        return sum(int(item["sizeGb"]) for (coll, _, _), item in self.items.items() if coll == "disks")

    def _new_disk(self, ctx: Context, body: Resource) -> Resource:
        if self._used_gb() + int(body.get("sizeGb", 10)) > self.disk_quota_gb:
            text = f"Quota 'DISKS_TOTAL_GB' exceeded.  Limit: {self.disk_quota_gb:.1f} in region us-central1."
            raise ApiError(403, "quotaExceeded", text)
        if ctx["scope"].startswith("regions/") and len(body.get("replicaZones", [])) != 2:
            raise ApiError(400, "invalid", "Invalid value for field 'resource.replicaZones': two are needed")
        for named in (*body.get("resourcePolicies", []), body.get("storagePool")):
            self._not_gone(named)
        key = body.get("diskEncryptionKey", {})
        if "kmsKeyName" in key:  # a key is named, and the version that was used is told
            body = {**body, "diskEncryptionKey": {"kmsKeyName": key["kmsKeyName"] + "/cryptoKeyVersions/1"}}
        if "rawKey" in key:
            body = {**body, "diskEncryptionKey": {"sha256": fingerprint(key["rawKey"])}}
        return self.add(
            "disks",
            ctx,
            body,
            "disk",
            status="CREATING",
            sizeGb=str(body.get("sizeGb", 10)),
            type=body.get("type") or self.link(ctx["project"], ctx["scope"], "diskTypes", "pd-balanced"),
            physicalBlockSizeBytes="4096",
        )

    def _not_gone(self, url: str | None) -> None:
        if url and url.rpartition("/")[2] in self.gone:
            raise ApiError(404, "notFound", f"The resource '{url}' was not found")

    def _need_no_key(self, disk: Resource) -> None:
        if "sha256" in disk.get("diskEncryptionKey", {}):
            path = disk["selfLink"].split("/v1/")[1]
            text = f"The resource '{path}' is protected with a customer supplied encryption key"
            raise ApiError(400, "invalid", text)

    def disks_addResourcePolicies(self, ctx: Context, body: Resource) -> Resource:  # noqa: N802
        with self.lock:
            disk = self.get("disks", ctx["scope"], ctx["leaf"], ctx["project"])
            for named in body.get("resourcePolicies", []):
                self._not_gone(named)

            def apply() -> None:
                disk.setdefault("resourcePolicies", []).extend(body.get("resourcePolicies", []))

            return self.begin(ctx, "addResourcePolicies", disk, (self.op_seconds, apply))

    def disks_insert(self, ctx: Context, body: Resource) -> Resource:
        with self.lock:
            body = dict(body)
            device = body.pop("sourceMachineImageDiskDeviceName", None)
            content = self._source_of(ctx, body, device)
            disk = self._new_disk(ctx, body)
            self.contents[disk["id"]] = content
            key = ("disks", ctx["scope"], disk["name"])
            ctx["undo"] = lambda: self.items.pop(key, None)
            return self.begin(ctx, "insert", disk, (self.op_seconds, lambda: disk.update(status="READY")))

    def _source_of(self, ctx: Context, body: Resource, device: str | None) -> str:
        if body.get("sourceMachineImage") and not self.disks_of_images:
            raise ApiError(400, "invalid", "Invalid value for field 'resource.sourceMachineImage'")
        if body.get("sourceDisk"):
            disk = self.by_url(body["sourceDisk"], ctx["project"])
            body.update(sourceDiskId=disk["id"])
            return self.contents.get(disk["id"], "")
        if body.get("sourceMachineImage"):
            image = self.by_url(body["sourceMachineImage"], ctx["project"])
            key = f"{image['id']}/{device}"
            if key not in self.contents:
                raise ApiError(400, "invalid", f"The machine image has no device '{device}'")
            body.update(sourceMachineImageId=image["id"])
            return self.contents[key]
        for field in ("sourceSnapshot", "sourceInstantSnapshot"):
            if body.get(field):
                source = self.by_url(body[field], ctx["project"])
                self._fit(ctx, body, field, source)
                return self.contents.get(source["id"], "")
        return ""

    def _fit(self, ctx: Context, body: Resource, field: str, source: Resource) -> None:
        if source["status"] not in ("READY", "UPLOADING"):
            raise not_ready(source)
        if field == "sourceInstantSnapshot" and not source["selfLink"].split("/v1/")[1].startswith(
            f"projects/{ctx['project']}/{ctx['scope']}/"
        ):
            raise ApiError(400, "invalid", "The instant snapshot is in another place than the disk")
        body.update({f"{field}Id": source["id"], "sizeGb": body.get("sizeGb") or source["diskSizeGb"]})
        if int(body["sizeGb"]) < int(source["diskSizeGb"]):
            text = f"Requested disk size cannot be smaller than the snapshot size ({source['diskSizeGb']} GB)"
            raise ApiError(400, "invalid", f"Invalid value for field 'resource.sizeGb'. {text}")

    # -- copies -------------------------------------------------------------------------------------------

    def _copying(self, ctx: Context, made: Resource, take: Callable[[], None], size: str) -> Resource:
        """Begin the operation of a copy: the point in time is fixed when CREATING ends."""
        ctx["undo"] = lambda: made.update(status="INVALID" if "instanceProperties" in made else "FAILED")

        def cut() -> None:
            take()
            made["status"] = "UPLOADING"

        def done() -> None:
            stored = "totalStorageBytes" if "instanceProperties" in made else "storageBytes"
            made.update({"status": "READY", stored: size})
            if stored == "storageBytes":
                made["storageBytesStatus"] = "UP_TO_DATE"

        verb = "createSnapshot" if ctx["action"] == "createSnapshot" else "insert"
        end = self.cut_seconds + self.upload_seconds
        return self.begin(ctx, verb, made, (self.cut_seconds, cut), (end, done))

    def _snapshot(self, ctx: Context, body: Resource, disk: Resource, *, flush: bool) -> Resource:
        if flush:
            machine = disk.get("users") and self.by_url(disk["users"][0], ctx["project"])
            if not machine or machine["status"] != "RUNNING":
                raise ApiError(
                    400, "invalid", "guestFlush needs the disk to be attached to a running instance"
                )
        self._need_no_key(disk)
        if disk["status"] != "READY":
            raise not_ready(disk)
        made = self.add(
            "snapshots",
            ctx,
            body,
            "snapshot",
            scope="global",
            status="CREATING",
            sourceDisk=disk["selfLink"],
            sourceDiskId=disk["id"],
            diskSizeGb=disk["sizeGb"],
            storageBytes="0",
            storageBytesStatus="UPDATING",
            snapshotType="STANDARD",
            autoCreated=False,
            storageLocations=body.get("storageLocations", ["us"]),
        )

        def take() -> None:
            self.contents[made["id"]] = self.contents.get(disk["id"], "")

        return self._copying(ctx, made, take, str(10 << 20))

    def disks_createSnapshot(self, ctx: Context, body: Resource) -> Resource:  # noqa: N802
        with self.lock:
            disk = self.get("disks", ctx["scope"], ctx["leaf"], ctx["project"])
            return self._snapshot(
                ctx,
                body,
                disk,
                # of a zonal disk it is a parameter, of a regional one a part of the body
                flush=bool((ctx if ctx["resource"] == "disks" else body).get("guestFlush")),
            )

    def snapshots_insert(self, ctx: Context, body: Resource) -> Resource:
        with self.lock:
            disk = self.by_url(body.get("sourceDisk"), ctx["project"])
            return self._snapshot(ctx, body, disk, flush=bool(body.get("guestFlush")))

    def instantSnapshots_insert(self, ctx: Context, body: Resource) -> Resource:  # noqa: N802
        with self.lock:
            disk = self.by_url(body.get("sourceDisk"), ctx["project"])
            if disk["type"].rpartition("/")[2] in self.no_instant:
                raise ApiError(400, "invalid", "Instant snapshots are not supported for this disk type")
            self._need_no_key(disk)
            if disk["status"] != "READY":
                raise not_ready(disk)
            theirs = [i for (c, _, _), i in self.items.items() if c == "instantSnapshots"]
            theirs = [one for one in theirs if one["sourceDiskId"] == disk["id"]]
            if len(theirs) >= self.most_instants:
                raise ApiError(400, "invalid", f"The disk has {len(theirs)} instant snapshots already")
            made = self.add(
                "instantSnapshots",
                ctx,
                body,
                "instantSnapshot",
                status="CREATING",
                sourceDisk=disk["selfLink"],
                sourceDiskId=disk["id"],
                diskSizeGb=disk["sizeGb"],
            )

            def take() -> None:
                self.contents[made["id"]] = self.contents.get(disk["id"], "")
                made["status"] = "READY"

            ctx["undo"] = lambda: made.update(status="FAILED")
            last = self.instants.get(disk["id"], float("-inf"))
            self.instants[disk["id"]] = self.clock()
            limit = ("RESOURCE_OPERATION_RATE_EXCEEDED", "Operation rate exceeded for the disk.", 403)
            error = limit if self.clock() - last < self.instant_gap_s else None
            return self.begin(ctx, "insert", made, (self.cut_seconds, take), error=error)

    def resourcePolicies_get(self, ctx: Context, _: None) -> Resource:  # noqa: N802
        name = ctx["leaf"]
        with self.lock:
            self._not_gone(name)
            together = name in self.consistency_groups
        kind = {"diskConsistencyGroupPolicy": {}} if together else {"snapshotSchedulePolicy": {}}
        link = self.link(ctx["project"], ctx["scope"], "resourcePolicies", name)
        return {"kind": "compute#resourcePolicy", "id": "9", "name": name, "selfLink": link, **kind}

    def instantSnapshotGroups_insert(self, ctx: Context, body: Resource) -> Resource:  # noqa: N802
        """Make an instant snapshot of every disk of a consistency group, all at one instant."""
        with self.lock:
            policy = body.get("sourceConsistencyGroup") or ctx.get("sourceConsistencyGroup") or ""
            name = policy.rpartition("/")[2]
            if name not in self.consistency_groups:
                raise ApiError(400, "invalid", f"'{policy}' is no consistency group")
            here = [i for (c, at, _), i in self.items.items() if (c, at) == ("disks", ctx["scope"])]
            disks = [
                disk for disk in here if any(p.endswith(f"/{name}") for p in disk.get("resourcePolicies", []))
            ]
            group = self.add("instantSnapshotGroups", ctx, body, "instantSnapshotGroup", status="CREATING")
            del group["labelFingerprint"]  # it has no labels
            made = [self._member(ctx, group, number, disk) for number, disk in enumerate(disks)]

            def take() -> None:
                for snapshot, disk in zip(made, disks, strict=True):
                    self.contents[snapshot["id"]] = self.contents.get(disk["id"], "")
                    snapshot["status"] = "READY"
                group["status"] = "READY"

            def undo() -> None:
                for one in (group, *made):
                    one["status"] = "FAILED"

            ctx["undo"] = undo
            return self.begin(ctx, "insert", group, (self.cut_seconds, take))

    def _member(self, ctx: Context, group: Resource, number: int, disk: Resource) -> Resource:
        return self.add(
            "instantSnapshots",
            ctx,
            {"name": f"{group['name'][:50]}-{number}-{self.seq % 10**6}"},
            "instantSnapshot",
            status="CREATING",
            sourceDisk=disk["selfLink"],
            sourceDiskId=disk["id"],
            diskSizeGb=disk["sizeGb"],
            sourceInstantSnapshotGroup=group["selfLink"],
        )

    def machineImages_insert(self, ctx: Context, body: Resource) -> Resource:  # noqa: N802
        with self.lock:
            machine = self.by_url(ctx.get("sourceInstance") or body.get("sourceInstance"), ctx["project"])
            for attached in machine["disks"]:
                if attached["type"] != "SCRATCH":
                    self._need_no_key(self.by_url(attached["source"], ctx["project"]))
            kept = ("boot", "autoDelete", "mode", "deviceName", "type")
            properties = {
                "machineType": machine["machineType"].split("/")[-1],
                "networkInterfaces": machine["networkInterfaces"],
                "disks": [
                    {key: disk[key] for key in kept}
                    | {"initializeParams": {"diskSizeGb": disk["diskSizeGb"]}}
                    for disk in machine["disks"]
                ],
            }
            made = self.add(
                "machineImages",
                ctx,
                body,
                "machineImage",
                status="CREATING",
                sourceInstance=machine["selfLink"],
                instanceProperties=properties,
                totalStorageBytes="0",
                storageLocations=body.get("storageLocations", ["us"]),
            )

            def take() -> None:
                for attached in machine["disks"]:
                    if attached["type"] != "SCRATCH":
                        disk = self.by_url(attached["source"], ctx["project"])
                        key = f"{made['id']}/{attached['deviceName']}"
                        self.contents[key] = self.contents.get(disk["id"], "")

            return self._copying(ctx, made, take, str(20 << 20))


def fingerprint(value: Any) -> str:
    digest = hashlib.sha1(json.dumps(value, sort_keys=True).encode(), usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest[:8]).decode()


def disk_scope(disk: Resource) -> str:
    return "/".join(disk["selfLink"].split("/")[-4:-2])


def in_use(noun: str, found: Resource) -> ApiError:
    path, user = found["selfLink"].split("/v1/")[1], found["users"][0].split("/v1/")[1]
    text = f"The {noun} resource '{path}' is already being used by '{user}'"
    return ApiError(400, "resourceInUseByAnotherResource", text)


def not_ready(found: Resource) -> ApiError:
    return ApiError(
        400, "resourceNotReady", f"The resource '{found['selfLink'].split('/v1/')[1]}' is not ready"
    )


def matches(expression: str | None, row: Resource) -> bool:
    """Tell whether a resource passes a filter; a small part of the grammar."""
    for part in re.split(r"\s+AND\s+|\)\s*\(", (expression or "").strip("() ")):
        if part and not _matches_part(part, expression, row):
            return False
    return True


def _matches_part(part: str, expression: str | None, row: Resource) -> bool:
    match = re.fullmatch(r"\(?\s*([\w.\-]+)\s*(=|!=|eq|ne|:)\s*\"?([^\"()]*)\"?\s*\)?", part)
    if match is None:
        raise ApiError(400, "invalid", f"Invalid value for field 'filter': '{expression}'.")
    value: Any = row
    for key in match[1].split(".", 1):
        value = value.get(key) if isinstance(value, dict) else None
    equal = value is not None if (match[2], match[3]) == (":", "*") else str(value) == match[3]
    return equal != (match[2] in ("!=", "ne"))
