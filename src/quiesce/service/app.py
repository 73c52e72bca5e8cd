"""The console as an ASGI application: every route with the role that it needs."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from inspect import iscoroutinefunction
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from quiesce.app.masking import masked_error
from quiesce.app.services import Services
from quiesce.errors import ExitStatus, QuiesceError, ResourceNotFoundError, UnsafeNameError
from quiesce.service.access import COOKIE, WRONG_TOKEN_S, Access, ConsoleSession, RequestRefusedError, secured
from quiesce.service.actions import Actions
from quiesce.service.audit import Audit
from quiesce.service.launching import Launcher
from quiesce.service.pages import NUMBER, Pages, role_for
from quiesce.service.users import UserRole

_Part = TypeVar("_Part")

_SEE_OTHER: Final = 303
_UNKNOWN: Final = 401
#: how long a form may be on its way, in seconds
_FORM_S: Final = 20.0
#: how many may follow executions and take out files at once: each asks the database twice a second
_MOST_STREAMS: Final = 32
#: of one user: nobody takes them all
_MOST_OF_ONE: Final = 8
#: forms are small
_FORM_BYTES: Final = 64 * 1024
#: by name: what it is, and where it lies; the design is that of reports, too
_ASSETS: Final = {
    "design.css": ("text/css", "quiesce.reports", "templates"),
    "console.js": ("text/javascript", "quiesce.service", "static"),
    "icon.svg": ("image/svg+xml", "quiesce.service", "static"),
}
_STATUS: Final = {
    ExitStatus.NOT_FOUND: 404,
    ExitStatus.USAGE: 400,
    ExitStatus.REFUSED: 409,
    ExitStatus.STORE: 503,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleRoute:
    """One route."""

    path: str
    #: a page, by a method of `Pages`, or an action, by a method of `Actions`
    answer: Callable[..., Any]
    #: the role that it needs; None: it depends on the workflow that is named
    role: UserRole | None
    changes: bool = False


def places(pages: Pages, actions: Actions) -> tuple[ConsoleRoute, ...]:
    """Return every route that somebody has to be logged in for."""
    point = "/deployments/{deployment}/points/{point}"
    policy = "/deployments/{deployment}/policy"
    return (
        ConsoleRoute(path="/", answer=pages.home, role=UserRole.VIEWER),
        ConsoleRoute(path="/deployments/{deployment}", answer=pages.deployment, role=UserRole.VIEWER),
        ConsoleRoute(path=point, answer=pages.point, role=UserRole.VIEWER),
        ConsoleRoute(path=f"{point}/files/{{instance}}", answer=pages.files, role=UserRole.OPERATOR),
        ConsoleRoute(
            path=f"{point}/files/{{instance}}/extract",
            answer=actions.extract,
            role=UserRole.ADMIN,
            changes=True,
        ),
        ConsoleRoute(
            path="/deployments/{deployment}/plan/{workflow}", answer=pages.plan, role=UserRole.VIEWER
        ),
        ConsoleRoute(path=policy, answer=pages.policy, role=UserRole.ADMIN),
        ConsoleRoute(path=f"{policy}/plan", answer=pages.policy_plan, role=UserRole.ADMIN),
        ConsoleRoute(path=f"{policy}/set", answer=actions.set_policy, role=UserRole.ADMIN, changes=True),
        ConsoleRoute(
            path=f"{policy}/remove", answer=actions.remove_policy, role=UserRole.ADMIN, changes=True
        ),
        ConsoleRoute(path="/executions/{execution}", answer=pages.execution, role=UserRole.VIEWER),
        ConsoleRoute(path="/executions/{execution}/live", answer=pages.live, role=UserRole.VIEWER),
        ConsoleRoute(path="/audit", answer=pages.audit, role=UserRole.ADMIN),
        ConsoleRoute(
            path="/deployments/{deployment}/run/{workflow}", answer=actions.run, role=None, changes=True
        ),
        ConsoleRoute(path=f"{point}/verify", answer=actions.verify, role=UserRole.OPERATOR, changes=True),
        ConsoleRoute(path=f"{point}/prove", answer=actions.prove, role=UserRole.OPERATOR, changes=True),
        ConsoleRoute(
            path="/executions/{execution}/cancel", answer=actions.cancel, role=UserRole.OPERATOR, changes=True
        ),
    )


def console(services: Services, access: Access, launcher: Launcher, audit: Audit) -> Starlette:
    """Return the application."""
    pages = Pages(services, audit)
    door = _Door(services, access, pages)
    routes = [
        Route("/login", door.login, methods=["GET", "POST"]),
        Route("/logout", door.logout, methods=["POST"]),
        Route("/static/{name}", door.asset),
        *(_route(place, door) for place in places(pages, Actions(services, launcher, audit))),
    ]
    return Starlette(routes=routes)


def monitored(services: Services, audit: Audit) -> Route:
    """Return the route of metrics, for whoever may reach it."""
    pages = Pages(services, audit)
    return Route("/metrics", lambda request: secured(pages.metrics(request, None)))


class _Door:
    """What stands before every page: host, session, role, form; and what is shown when it is refused."""

    def __init__(self, services: Services, access: Access, pages: Pages) -> None:
        self._services = services
        self._access = access
        self._pages = pages
        self._streams: Counter[str] = Counter()

    async def open(self, request: Request, place: ConsoleRoute) -> Response:
        """Answer a request for *place*."""
        try:
            self._access.check_host(request)
            form = await _form(request) if place.changes else {}
            role = place.role or role_for(request.path_params["workflow"])
            session = self._access.require(request, role, form.get("csrf", ""))
            answer = await _answer(place, request, session, form)
            if isinstance(answer, StreamingResponse):
                self._require_turn(session.user.name)
                answer.body_iterator = self._while_allowed(
                    request, session.user.name, role, answer.body_iterator
                )
        except QuiesceError as error:
            masked_error(self._services.masking, error)
            answer = self._refusal(request, error)
        return secured(answer)

    async def login(self, request: Request) -> Response:
        """Show the form that asks for a token, or begin a session."""
        try:
            self._access.check_host(request)
            if request.method == "GET":
                return secured(self._pages.render("login.html", None, wrong=""))
            form = await _form(request)
            key = await run_in_threadpool(self._access.log_in, request, form.get("token", "").strip())
        except RequestRefusedError as error:
            if error.status == _UNKNOWN:
                await asyncio.sleep(WRONG_TOKEN_S)  # no thread waits: others need them
            page = self._pages.render("login.html", None, wrong=str(error), status=error.status)
            return secured(page)
        answer = RedirectResponse("/", _SEE_OTHER)
        secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
        answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=secure, path="/")
        return secured(answer)

    async def logout(self, request: Request) -> Response:
        """End the session."""
        try:
            self._access.check_host(request)
            form = await _form(request)
            self._access.require(request, UserRole.VIEWER, form.get("csrf", ""))
        except RequestRefusedError as error:
            return secured(self._refusal(request, error))
        self._access.log_out(request)
        return secured(RedirectResponse("/login", _SEE_OTHER))

    async def asset(self, request: Request) -> Response:
        """Return a file of ours."""
        name = request.path_params["name"]
        if name not in _ASSETS:
            return secured(Response(status_code=404))
        media_type, package, directory = _ASSETS[name]
        content = resources.files(package).joinpath(directory, name).read_bytes()
        tag = hashlib.sha256(content).hexdigest()[:16]
        answer = secured(Response(content, media_type=media_type))
        answer.headers.update({"Cache-Control": "max-age=300", "ETag": f'"{tag}"'})
        return answer

    def _require_turn(self, user: str) -> None:
        if self._streams.total() >= _MOST_STREAMS or self._streams[user] >= _MOST_OF_ONE:
            raise RequestRefusedError("so much is being sent already; try again in a moment", 503)

    async def _while_allowed(
        self, request: Request, user: str, role: UserRole, parts: AsyncIterable[_Part]
    ) -> AsyncIterator[_Part]:
        """Hand *parts* on for as long as who asked for them may still see them."""
        self._streams[user] += 1
        try:
            async for part in parts:
                if not await run_in_threadpool(self._access.allows, request, role):
                    return
                yield part
        finally:
            self._streams[user] -= 1

    def _refusal(self, request: Request, error: QuiesceError) -> Response:
        session = self._access.session(request)
        if session is None:
            return RedirectResponse("/login", _SEE_OTHER)
        status = _status_of(error)
        return self._pages.render("refused.html", session, status=status, error=error)


def _status_of(error: QuiesceError) -> int:
    if isinstance(error, RequestRefusedError):
        return error.status
    if isinstance(error, (ResourceNotFoundError, UnsafeNameError)):
        return 404
    return _STATUS.get(error.exit_status, 500)


def _route(place: ConsoleRoute, door: _Door) -> Route:
    async def endpoint(request: Request) -> Response:
        return await door.open(request, place)

    return Route(place.path, endpoint, methods=["POST"] if place.changes else ["GET"])


async def _answer(
    place: ConsoleRoute, request: Request, session: ConsoleSession, form: Mapping[str, str]
) -> Response:
    given = (request, session, form) if place.changes else (request, session)
    if iscoroutinefunction(place.answer):
        waiting: Awaitable[Response] = place.answer(*given)
        return await waiting
    answer: Response = await run_in_threadpool(place.answer, *given)
    return answer


async def _form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form; files, and whatever is too large, are refused."""
    content_type = request.headers.get("content-type", "").partition(";")[0]
    if content_type != "application/x-www-form-urlencoded":
        raise RequestRefusedError("this is no form of ours", 415)
    size = request.headers.get("content-length", "")
    if not NUMBER.fullmatch(size) or int(size) > _FORM_BYTES:
        raise RequestRefusedError("this form is too large", 413)
    try:
        async with asyncio.timeout(_FORM_S):
            body = await request.body()
    except (TimeoutError, ClientDisconnect) as error:
        raise RequestRefusedError("this form did not come to its end", 408) from error
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body)))
    except ValueError as error:
        raise RequestRefusedError("this form cannot be read", 400) from error
