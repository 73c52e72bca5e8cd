"""The wire: one logged-in session, counted requests, our errors. The only importer of the SDK."""

from __future__ import annotations

import enum
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import openstack.exceptions
import requests
from keystoneauth1 import exceptions as keystone
from openstack.config import OpenStackConfig, loader

from quiesce.errors import NonRecoverableError, OperationTimeoutError, ProviderError, RecoverableError
from quiesce.model.ids import Json
from quiesce.providers.openstack.credentials import Credentials
from quiesce.providers.openstack.errors import NotAllowedError, error_of

_CHUNK_BYTES: Final = 1 << 20
#: Glance writes its refusals as parts of a page
_LINE_BREAK: Final = re.compile(r"<br\s*/?>")
_TIMEOUT_S: Final = 60.0


class Service(enum.Enum):
    """The services that we speak to."""

    COMPUTE = "compute"
    VOLUME = "block-storage"
    IMAGE = "image"
    NETWORK = "network"


#: the API versions that this code is written for; all are of 2018 or older
_MICROVERSIONS: Final = {Service.COMPUTE: ("compute", "2.60"), Service.VOLUME: ("volume", "3.45")}
_VERSION_PATHS: Final = {
    Service.COMPUTE: "/v2.1",
    Service.VOLUME: "/v3",
    Service.IMAGE: "/v2",
    Service.NETWORK: "/v2.0",
}


class Client(Protocol):
    """What the rest of this provider asks of the wire; tests bring their own."""

    #: requests made so far, by ``<service> <method>``; ``identity`` counts logins
    calls: Counter[str]

    def request(
        self,
        service: Service,
        method: str,
        path: str,
        *,
        body: Json = None,
        query: Mapping[str, str] | None = None,
        microversion: str | None = None,
    ) -> dict[str, Any]:
        """Return the answer's body.

        Raises:
            ProviderError: when the answer is not a success. Retryable when asking again may help.
            OperationTimeoutError: when no answer came; the request may have had its effect.
        """
        ...

    def download(self, path: str) -> Iterator[bytes]:
        """Return an image's data, piece by piece."""
        ...

    @property
    def project_id(self) -> str:
        """The project that we are logged in to."""
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...


class SessionClient:
    """A `Client` over openstacksdk's session.

    The session logs in again by itself when its token has expired. It is safe to use from many threads.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.calls: Counter[str] = Counter()
        self._finding = threading.Lock()
        self._counting = threading.Lock()
        self._endpoints: dict[Service, str] = {}
        self._region = _translated("configuring the cloud", lambda: region_of(credentials))
        self._session = _translated("configuring the cloud", self._region.get_session)
        self._session.timeout = self._session.timeout or _TIMEOUT_S
        self._session.session.hooks["response"].append(self._count)

    @property
    def project_id(self) -> str:
        """The project that we are logged in to."""
        return str(_translated("logging in", self._session.get_project_id) or "")

    def request(
        self,
        service: Service,
        method: str,
        path: str,
        *,
        body: Json = None,
        query: Mapping[str, str] | None = None,
        microversion: str | None = None,
    ) -> dict[str, Any]:
        """Return the answer's body; see `Client`."""
        asked = f"{method} {service.value}{path}"
        options: dict[str, Any] = {"headers": _headers(service, method, microversion)}
        if body is not None:
            options["json"] = body
        if query:
            options["params"] = dict(query)
        answer = self._send(service, method, path, asked, options)
        return _body(answer)

    def download(self, path: str) -> Iterator[bytes]:
        """Return an image's data, piece by piece."""
        asked = f"GET image{path}"
        answer = self._send(Service.IMAGE, "GET", path, asked, {"stream": True})
        pieces = answer.iter_content(_CHUNK_BYTES)
        while piece := _translated(asked, lambda: next(pieces, b"")):
            yield piece

    def close(self) -> None:
        """Give the connections back."""
        self._session.session.close()

    def _send(
        self, service: Service, method: str, path: str, asked: str, options: Mapping[str, Any]
    ) -> requests.Response:
        url = self._endpoint(service) + path
        answer: requests.Response = _translated(
            asked, lambda: self._session.request(url, method, raise_exc=False, authenticated=True, **options)
        )
        if answer.status_code >= 400:
            raise error_of(
                answer.status_code, _message(answer), asked=asked, retry_after_s=_retry_after(answer)
            )
        return answer

    def _endpoint(self, service: Service) -> str:
        with self._finding:
            if service not in self._endpoints:
                self._endpoints[service] = self._find_endpoint(service)
            return self._endpoints[service]

    def _find_endpoint(self, service: Service) -> str:
        given = self._region.get_endpoint(service.value)
        found = given or _translated(
            f"finding the {service.value} service", lambda: self._in_catalog(service)
        )
        if not found:
            raise NonRecoverableError(
                f"the cloud's catalog has no {service.value} service",
                hint="Check region_name and interface, or ask the cloud's operator.",
            )
        return _versioned(str(found), service)

    def _in_catalog(self, service: Service) -> str | None:
        """Look the service up without asking it for its versions, which would be one more request."""
        catalog = self._session.auth.get_access(self._session).service_catalog
        for name in ("volumev3", "block-storage") if service is Service.VOLUME else (service.value,):
            endpoints = catalog.get_urls(
                service_type=name,
                interface=self._region.get_interface(service.value) or "public",
                region_name=self._region.get_region_name(service.value),
            )
            if endpoints:
                return str(endpoints[0])
        return None

    def _count(self, answer: requests.Response, *_args: object, **_options: object) -> None:
        url = answer.request.url or ""
        service = next((s.value for s, known in self._endpoints.items() if url.startswith(known)), "identity")
        with self._counting:
            self.calls[f"{service} {answer.request.method}"] += 1


def region_of(credentials: Credentials) -> Any:
    """Return the cloud of *credentials* as the SDK has it: from them, or from its files and the environment.

    The SDK looks for its files in the working directory first, which may be anybody's: there they count for
    nothing here.
    """
    given = bool(credentials.auth)
    config = OpenStackConfig(
        config_files=_of_the_machine(loader.CONFIG_FILES),
        secure_files=_of_the_machine(loader.SECURE_FILES),
        vendor_files=_of_the_machine(loader.VENDOR_FILES),
        load_yaml_config=not given,
        load_envvars=not given,
    )
    auth = {"auth": dict(credentials.auth)} if given else {}
    return config.get_one(**credentials.options, **auth)


def _of_the_machine(files: Sequence[str]) -> list[str]:
    _working_directory, *others = loader.CONFIG_SEARCH_PATH
    return [file for file in files if os.path.dirname(file) in others]  # noqa: PTH120


def _versioned(endpoint: str, service: Service) -> str:
    endpoint = endpoint.rstrip("/")
    wanted = _VERSION_PATHS[service]
    path = endpoint.split("://", 1)[-1]
    return endpoint if wanted in path or "/v" in path else endpoint + wanted


def _headers(service: Service, method: str, microversion: str | None) -> dict[str, str]:
    headers = {"Accept": "application/json"}
    if method == "PATCH":  # only Glance knows it, and takes nothing else
        headers["Content-Type"] = "application/openstack-images-v2.1-json-patch"
    if service in _MICROVERSIONS:
        name, version = _MICROVERSIONS[service]
        headers["OpenStack-API-Version"] = f"{name} {microversion or version}"
    return headers


def _body(answer: requests.Response) -> dict[str, Any]:
    if not answer.content:
        return {}
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _message(answer: requests.Response) -> str:
    body = _body(answer)
    for part in (body, *body.values()):
        if isinstance(part, dict) and part.get("message"):
            return " ".join(_LINE_BREAK.sub(" ", str(part["message"])).split())
    return answer.text.strip()[:300] or str(answer.reason)


def _retry_after(answer: requests.Response) -> float | None:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None


def _translated(asked: str, action: Callable[[], Any]) -> Any:
    """Return what *action* returns; whatever the SDK raises becomes one of ours."""
    try:
        return action()
    except ProviderError:
        raise
    except Exception as error:
        raise _ours(error, asked) from error


def _ours(error: Exception, asked: str) -> Exception:
    text = f"{asked}: {error}"
    if isinstance(error, keystone.ConnectTimeout):
        return OperationTimeoutError(text)
    if isinstance(error, keystone.HttpError):
        return error_of(int(error.http_status), str(error.message), asked=asked)
    if isinstance(error, requests.RequestException | keystone.ConnectFailure | keystone.DiscoveryFailure):
        return RecoverableError(text)
    return _ours_of_login(error, text)


def _ours_of_login(error: Exception, text: str) -> Exception:
    hint = "Check client_config, clouds.yaml or the OS_ variables."
    if isinstance(error, keystone.AuthorizationFailure | keystone.AuthPluginException):
        return NotAllowedError(text, hint=hint)
    if isinstance(error, keystone.ClientException | openstack.exceptions.SDKException):
        return NonRecoverableError(text, hint=hint)
    return error
