"""The only module that knows google-cloud-compute.

The client's own ``result()`` and ``done()`` poll operations at Google's public endpoint whatever endpoint was
configured, so they are never used: every change is asked for with a ``*_unary`` method and awaited with the
server-side ``wait`` of operation clients that were made for the configured endpoint.
"""

from __future__ import annotations

import itertools
import json
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

import google.auth
import requests
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError, from_http_response
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import compute_v1
from google.oauth2 import credentials as user_credentials
from google.oauth2 import service_account
from google.protobuf.json_format import ParseError
from requests.adapters import HTTPAdapter

from quiesce.errors import NonRecoverableError, ProviderError, RecoverableError, ResourceNotFoundError
from quiesce.provider_kit.deadline import Deadline
from quiesce.providers.gcp import messages
from quiesce.providers.gcp.account import Login
from quiesce.providers.gcp.errors import AlreadyThereError, QuotaError, lost, no_credentials, problem
from quiesce.providers.gcp.references import (
    DISKS,
    GROUPS,
    IMAGES,
    INSTANTS,
    MACHINES,
    POLICIES,
    SNAPSHOTS,
    Location,
    Reference,
    parse,
)
from quiesce.providers.gcp.resources import GcpCopy, GcpDisk, GcpMachine, Quota

T = TypeVar("T")
U = TypeVar("U")

#: how often one request is sent before its error is passed on
TRIES: Final = 6
#: the same at a quota or a rate limit, when there is nothing else to do but to wait for it
TRIES_AT_LIMIT: Final = 8
#: requests side by side, and connections kept open to one host
_SIDE_BY_SIDE: Final = 48
_PAGE: Final = 500
#: the longest that one request may take, in seconds: the service's own `wait` answers within two minutes
_REQUEST_S: Final = 130.0
#: how long one `wait` is held, in seconds: well within the time that a cancelled call is given to end
_HELD_S: Final = 8.0
_SCOPES: Final = ("https://www.googleapis.com/auth/compute",)
#: collection and kind of scope -> client, and what its requests call the resource
_CLIENTS: Final[dict[tuple[str, str], tuple[str, str]]] = {
    (MACHINES, "zones"): ("InstancesClient", "instance"),
    (DISKS, "zones"): ("DisksClient", "disk"),
    (DISKS, "regions"): ("RegionDisksClient", "disk"),
    (INSTANTS, "zones"): ("InstantSnapshotsClient", "instant_snapshot"),
    (INSTANTS, "regions"): ("RegionInstantSnapshotsClient", "instant_snapshot"),
    (GROUPS, "zones"): ("InstantSnapshotGroupsClient", "instant_snapshot_group"),
    (SNAPSHOTS, "global"): ("SnapshotsClient", "snapshot"),
    (IMAGES, "global"): ("MachineImagesClient", "machine_image"),
    (POLICIES, "regions"): ("ResourcePoliciesClient", "resource_policy"),
    ("operations", "zones"): ("ZoneOperationsClient", "operation"),
    ("operations", "regions"): ("RegionOperationsClient", "operation"),
    ("operations", "global"): ("GlobalOperationsClient", "operation"),
}


class GcpConnection:
    """The SDK's clients of one account, made when first used, shared by all threads."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._pool = ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE, thread_name_prefix="gcp")
        self._credentials, self.default_project = _credentials(login)
        self._session: Any = None

    def client(self, name: str) -> Any:
        """Return the SDK's client of that class, speaking to the configured endpoint."""
        with self._lock:
            if name not in self._clients:
                self._clients[name] = self._made(name)
            return self._clients[name]

    def post(self, path: str, query: Mapping[str, str], body: Mapping[str, object], timeout_s: float) -> Any:
        """Send what the SDK's classes have no fields for; the answer is an operation."""
        with self._lock:
            self._session = self._session or AuthorizedSession(self._credentials)
        url = f"{self._login.endpoint}/compute/v1/{path}"
        answer = self._session.post(url, params=query, json=body, timeout=timeout_s)
        if answer.status_code >= 400:
            raise from_http_response(answer)
        return compute_v1.Operation.from_json(answer.content, ignore_unknown_fields=True)

    def side_by_side(self, action: Callable[[T], U], items: Sequence[T]) -> list[U]:
        """Do *action* to all *items* at once; when several fail, the first one's error is raised.

        Returns only when every one is over, so that nothing is still happening behind an error.
        """
        if len(items) == 1:
            return [action(items[0])]
        futures = [self._pool.submit(action, item) for item in items]
        errors = [error for error in (future.exception() for future in futures) if error is not None]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]

    def close(self) -> None:
        """Give threads and connections back."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for client in self._clients.values():
                client.transport.close()
            if self._session is not None:
                self._session.close()

    def _made(self, name: str) -> Any:
        client = getattr(compute_v1, name)(
            credentials=self._credentials, client_options=ClientOptions(api_endpoint=self._login.endpoint)
        )
        session = client.transport._session  # noqa: SLF001  the only way to more than ten connections
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(pool_connections=2, pool_maxsize=_SIDE_BY_SIDE))
        return client


class Compute:
    """Compute Engine for one call of the engine: every method ends when the call's time is over."""

    def __init__(self, connection: GcpConnection, deadline: Deadline) -> None:
        self.connection = connection
        self.deadline = deadline

    # -- reading ----------------------------------------------------------------------------------------

    def machine(self, reference: Reference) -> GcpMachine:
        """Return a virtual machine as it is now."""
        return messages.machine(self._get(reference))

    def disk(self, reference: Reference) -> GcpDisk:
        """Return a disk as it is now."""
        return messages.disk(self._get(reference))

    def copy(self, reference: Reference) -> GcpCopy:
        """Return a snapshot, an instant snapshot or a machine image as it is now."""
        return messages.copy(self._get(reference))

    def copies(self, location: Location, label: str = "", value: str = "") -> dict[Reference, GcpCopy]:
        """Return the copies in *location*, all pages of them; with *value* only those that have the label."""
        found = self._list(location, f'labels.{label}="{value}"' if value else "")
        return {copy.reference: copy for copy in map(messages.copy, found)}

    def disks(self, location: Location) -> dict[Reference, GcpDisk]:
        """Return the disks in *location*, all pages of them."""
        return {disk.reference: disk for disk in map(messages.disk, self._list(location, ""))}

    def everywhere(self, project: str, client: str, of: Callable[[Any], T], expression: str = "") -> list[T]:
        """Return what a client's aggregated list has, of all zones and regions and pages."""
        request = {"project": project, "max_results": _PAGE}
        if expression:
            request["filter"] = expression
        lister = self.connection.client(client).aggregated_list

        def read(timeout_s: float) -> list[T]:
            scopes = lister(request=request, retry=None, timeout=timeout_s)
            return [of(found) for _, scope in scopes for found in messages.listed(scope)]

        return self.ask(f"list {client}", read)

    def machine_type(self, machine: GcpMachine) -> Mapping[str, int]:
        """Return how many processors and how much memory a machine has."""
        client = self.connection.client("MachineTypesClient")
        request = {
            "project": machine.reference.project,
            "zone": machine.reference.place,
            "machine_type": machine.machine_type,
        }
        answer = self.ask("read a machine type", lambda s: client.get(request=request, retry=None, timeout=s))
        return {"processors": answer.guest_cpus, "memory_bytes": answer.memory_mb << 20}

    def quotas(self, project: str, region: str) -> list[Quota]:
        """Return the project's quotas and the region's."""
        projects, regions = self.connection.client("ProjectsClient"), self.connection.client("RegionsClient")
        of_project = self.ask(
            "read the project",
            lambda s: projects.get(request={"project": project}, retry=None, timeout=s),
        )
        of_region = self.ask(
            "read the region",
            lambda s: regions.get(request={"project": project, "region": region}, retry=None, timeout=s),
        )
        return [messages.quota(found) for found in (*of_project.quotas, *of_region.quotas)]

    def description_of(self, reference: Reference) -> str:
        """Return what people read about a resource."""
        return str(self._get(reference).description)

    def is_consistency_group(self, policy: str) -> bool:
        """Tell whether the resource policy of that path is a consistency group of disks."""
        try:
            return "disk_consistency_group_policy" in self._get(parse(policy))
        except ResourceNotFoundError:
            return False

    def permitted(self, reference: Reference, permissions: Iterable[str]) -> frozenset[str]:
        """Return which of *permissions* the account has on a resource."""
        client, _ = self._client_of(reference)
        request = self._scope_of(reference) | {
            "resource": reference.name,
            "test_permissions_request_resource": {"permissions": list(permissions)},
        }
        answer = self.ask(
            "test permissions", lambda s: client.test_iam_permissions(request=request, retry=None, timeout=s)
        )
        return frozenset(answer.permissions)

    # -- changing ---------------------------------------------------------------------------------------

    def insert(
        self,
        reference: Reference,
        body: Mapping[str, object],
        *,
        source_machine_image: str = "",
        tries_at_limit: int = TRIES_AT_LIMIT,
    ) -> Reference:
        """Begin to make *reference*; returns the operation.

        Raises:
            AlreadyThereError: when something of that name exists.
        """
        client, noun = self._client_of(reference)
        request = self._scope_of(reference) | {f"{noun}_resource": {"name": reference.name, **body}}
        request |= {"source_machine_image": source_machine_image} if source_machine_image else {}
        what = f"make {reference.path}"
        return self._change(what, reference, client.insert_unary, request, tries_at_limit)

    def insert_from_machine_image(self, reference: Reference, body: Mapping[str, object]) -> Reference:
        """Begin to make a disk from one disk of a machine image; *body* is in the API's own spelling."""
        kind, _, _ = reference.scope.partition("/")
        path = f"projects/{reference.project}/{kind}/{reference.place}/disks"
        query = {"requestId": str(uuid.uuid4())}
        what = f"make {reference.path}"
        answer = self.ask(
            what,
            lambda s: self.connection.post(path, query, {"name": reference.name, **body}, s),
            changes=True,
        )
        return messages.operation_reference(answer, reference.project)

    def act(self, reference: Reference, verb: str, **fields: object) -> Reference:
        """Begin to do what the method *verb* of the resource's client does; returns the operation."""
        client, noun = self._client_of(reference)
        request = self._scope_of(reference) | {noun: reference.name} | fields
        return self._change(f"{verb} {reference.path}", reference, getattr(client, f"{verb}_unary"), request)

    def set_labels(self, reference: Reference, labels: Mapping[str, str], fingerprint: str) -> Reference:
        """Begin to give a zonal resource other labels, if they are still those of *fingerprint*."""
        client, _ = self._client_of(reference)
        body = {"labels": dict(labels), "label_fingerprint": fingerprint}
        request = self._scope_of(reference) | {
            "resource": reference.name,
            "zone_set_labels_request_resource": body,
        }
        return self._change(f"label {reference.path}", reference, client.set_labels_unary, request)

    def delete(self, reference: Reference) -> Reference:
        """Begin to remove *reference*; returns the operation."""
        return self.act(reference, "delete")

    def remove(self, references: Iterable[Reference]) -> None:
        """Remove resources side by side and return when they are gone; those that are not there are fine."""
        ordered = sorted(references, key=lambda reference: reference.path)
        for operation in self.side_by_side(self._begin_removal, ordered):
            if operation is not None:
                self.wait(operation)

    def wait(self, operation: Reference) -> None:
        """Return when an operation has succeeded.

        Raises:
            ProviderError: as the operation ended.
        """
        client, _ = self._client_of(operation)
        request = self._scope_of(operation) | {"operation": operation.name}

        def held(timeout_s: float) -> Any:
            with suppress(requests.Timeout):  # only to look up whether anybody still waits
                return client.wait(request=request, retry=None, timeout=min(timeout_s, _HELD_S))
            return None

        def look() -> Any:  # the service may come back undone, at once and as often as it likes
            answer = self.ask(f"wait for {operation.name}", held)
            return answer if answer is not None and messages.is_done(answer) else None

        messages.raise_failure(self.deadline.until(look, longest_s=1.0))

    def failure(self, operation: Reference) -> ProviderError | None:
        """Return how an operation failed; None while it runs and when it has succeeded."""
        answer = self._get(operation)
        if not messages.is_done(answer):
            return None
        try:
            messages.raise_failure(answer)
        except ProviderError as error:
            return error
        return None

    def side_by_side(self, action: Callable[[T], U], items: Sequence[T]) -> list[U]:
        """Do *action* to all *items* at once; see `GcpConnection.side_by_side`."""
        return self.connection.side_by_side(action, items)

    def ask(
        self,
        what: str,
        send: Callable[[float], T],
        *,
        changes: bool = False,
        tries_at_limit: int = TRIES_AT_LIMIT,
    ) -> T:
        """Return the answer to one request, asking again while that may help.

        A repeated change carries the same request id, so that the service does it once.
        """
        for attempt in itertools.count(1):
            error = _attempt(what, lambda: send(self.deadline.left_s(_REQUEST_S)), changes=changes)
            if not isinstance(error, _Failure):
                return error
            tries = tries_at_limit if isinstance(error.problem, QuotaError) else TRIES
            if not error.worth_another or attempt >= tries:
                raise error.problem
            if error.problem.retry_after_s is not None:
                self.deadline.pause(error.problem.retry_after_s)
            else:
                self.deadline.back_off(attempt)
        raise AssertionError("unreachable")

    # -- below ------------------------------------------------------------------------------------------

    def _begin_removal(self, reference: Reference) -> Reference | None:
        """Begin to remove; what is still being made cannot be removed yet, so ask until it can."""
        for attempt in itertools.count(1):
            try:
                return self.delete(reference)
            except ResourceNotFoundError:
                return None
            except RecoverableError:
                self.deadline.back_off(attempt)
        raise AssertionError("unreachable")

    def _get(self, reference: Reference) -> Any:
        client, noun = self._client_of(reference)
        request = self._scope_of(reference) | {noun: reference.name}
        return self.ask(
            f"read {reference.path}", lambda s: client.get(request=request, retry=None, timeout=s)
        )

    def _list(self, location: Location, expression: str) -> list[Any]:
        client, _ = self._client_of(location)
        request = self._scope_of(location) | {"max_results": _PAGE}
        request |= {"filter": expression} if expression else {}
        return self.ask(
            f"list {location.collection}",
            lambda s: list(client.list(request=request, retry=None, timeout=s)),
        )

    def _change(
        self,
        what: str,
        reference: Reference,
        method: Callable[..., Any],
        request: Mapping[str, object],
        tries_at_limit: int = TRIES_AT_LIMIT,
    ) -> Reference:
        once = {**request, "request_id": str(uuid.uuid4())}
        answer = self.ask(
            what,
            lambda s: method(request=once, retry=None, timeout=s),
            changes=True,
            tries_at_limit=tries_at_limit,
        )
        return messages.operation_reference(answer, reference.project)

    def _client_of(self, location: Location) -> tuple[Any, str]:
        name, noun = _CLIENTS[location.collection, location.kind]
        return self.connection.client(name), noun

    def _scope_of(self, location: Location) -> dict[str, Any]:
        place = {"zones": "zone", "regions": "region"}.get(location.kind)
        return {"project": location.project} | ({place: location.place} if place else {})


class _Failure:
    """A request that did not succeed, as a value."""

    def __init__(self, problem: ProviderError, cause: Exception, *, worth_another: bool) -> None:
        self.problem = problem
        self.problem.__cause__ = cause
        self.worth_another = worth_another


#: no answer, or one that Google's library cannot read; of an error it believes the shape
_UNREAD: Final = (
    GoogleAuthError,
    requests.RequestException,
    ParseError,
    ValueError,
    RecursionError,
    AttributeError,
    TypeError,
)


def _attempt(what: str, send: Callable[[], T], *, changes: bool) -> T | _Failure:
    try:
        return send()
    except GoogleAPICallError as error:
        found = _problem(error)
        again = found.retryable and not isinstance(found, AlreadyThereError)
        return _Failure(found, error, worth_another=again)
    except _UNREAD as error:
        found = _lost(what, error, changes=changes)
        return _Failure(found, error, worth_another=found.retryable)


def _lost(what: str, error: Exception, *, changes: bool) -> ProviderError:
    """Return our error for what went wrong before there was an answer that could be read."""
    match error:
        case TransportError():
            return RecoverableError("no token could be had from Google")
        case GoogleAuthError():
            return no_credentials(error)
        case requests.RequestException():
            return lost(what, changes=changes)
        case _:
            return NonRecoverableError(f"the answer to {what} is not what Compute Engine would say")


def _problem(error: GoogleAPICallError) -> ProviderError:
    details = [detail for detail in error.errors or () if isinstance(detail, Mapping)]
    reason = str(details[0].get("reason", "")) if details else ""
    headers = getattr(error.response, "headers", None) or {}
    after = str(headers.get("Retry-After", ""))
    return problem(
        int(error.code or 0),
        reason,
        str(error.message),
        retry_after_s=float(after) if after.isdecimal() else None,
    )


def _credentials(login: Login) -> tuple[Any, str]:
    """Return credentials and the project that they name."""
    if login.anonymous:
        return AnonymousCredentials(), ""
    try:
        if not login.auth:
            found, project = google.auth.default(scopes=list(_SCOPES))
            return found, project or ""
        key = json.loads(login.auth)
        return _from_key(key), str(key.get("project_id", ""))
    except (GoogleAuthError, ValueError) as error:
        raise no_credentials(error) from error


def _from_key(auth: Mapping[str, Any]) -> Any:
    match auth.get("type", "service_account"):
        case "service_account":
            return service_account.Credentials.from_service_account_info(auth, scopes=_SCOPES)
        case "authorized_user":
            return user_credentials.Credentials.from_authorized_user_info(auth, scopes=_SCOPES)
        case _:
            raise NonRecoverableError(
                "gcp_config.auth is neither a service account's key nor a user's",
                hint="Leave auth out and use application default credentials for every other kind.",
            )
