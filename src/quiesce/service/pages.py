"""What is looked at: every page, by the use cases of the command line."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from jinja2 import ChoiceLoader, PackageLoader
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse

from quiesce.app.metrics import samples
from quiesce.app.policies.due import state_of
from quiesce.app.policies.policies import policy_named
from quiesce.app.run.measured import last_measured, measured_around
from quiesce.app.run.recover import find_unfinished
from quiesce.app.run.report import report_execution
from quiesce.app.run.run import preview
from quiesce.app.services import Services
from quiesce.errors import UsageError
from quiesce.model.execution import Execution, ExecutionState
from quiesce.model.history import History
from quiesce.model.ids import DeploymentName, Json
from quiesce.model.policy import PointKind
from quiesce.model.report import ExecutionReport
from quiesce.model.request import WorkflowRequest
from quiesce.planning import BACKUP, REMOVE_BACKUP, WORKFLOWS, Workflow, workflow_named
from quiesce.reports.html import page_environment
from quiesce.reports.pictures import pictures_of, size_trend, window_trend
from quiesce.reports.prometheus import render_metrics
from quiesce.reports.series import Curves, curves_of
from quiesce.service.access import ConsoleSession
from quiesce.service.audit import Audit
from quiesce.service.files import look_into
from quiesce.service.overview import overview
from quiesce.service.policy_form import foresee, kept_keys, sections, sections_of, version_of
from quiesce.service.users import UserRole

#: how often a running execution is looked at, in seconds
_LIVE_S: Final = 0.5
#: a count that somebody has sent
NUMBER: Final = re.compile(r"[0-9]{1,9}")
#: executions on a deployment's page
_EXECUTIONS: Final = 15


class Pages:
    """Renders pages; nothing is changed by any of them."""

    def __init__(self, services: Services, audit: Audit) -> None:
        self._services = services
        self._audit = audit
        packages = ("quiesce.service", "quiesce.reports")
        self._templates = page_environment(
            ChoiceLoader([PackageLoader(name, "templates") for name in packages])
        )

    def render(
        self, page: str, session: ConsoleSession | None, /, *, status: int = 200, **values: Any
    ) -> Response:
        """Return a page for somebody."""
        text = self._templates.get_template(page).render(session=session, roles=UserRole, **values)
        return HTMLResponse(text, status_code=status)

    def home(self, request: Request, session: ConsoleSession) -> Response:
        """Return the first page: how everything stands."""
        page = request.query_params.get("page", "1")
        matching = request.query_params.get("q", "")[:128]
        seen = overview(self._services, page=int(page) if NUMBER.fullmatch(page) else 1, matching=matching)
        return self.render("home.html", session, seen=seen, matching=matching, now=self._services.clock.now())

    def deployment(self, request: Request, session: ConsoleSession) -> Response:
        """Return one deployment: its restore points, policies and last executions."""
        found = self._services.deployments.get(request.path_params["deployment"])
        points = self._services.catalog.list(found.name)
        policies = self._services.policies.list(found.name)
        return self.render(
            "deployment.html",
            session,
            name=found.name,
            points=list(reversed(points)),
            policies=[state_of(self._services, each) for each in policies],
            runs={each.name: self._services.policies.runs(each, 5) for each in policies},
            executions=self._last_executions(found.name),
            unfinished=find_unfinished(self._services, found.name),
            windows=window_trend(points),
            sizes=size_trend(points),
            curves=curves_of(last_measured(self._services, found.name)),
            workflows=_offered(session.user.role),
            backup=BACKUP,
            now=self._services.clock.now(),
        )

    def point(self, request: Request, session: ConsoleSession) -> Response:
        """Return one restore point."""
        found = self._services.deployments.get(request.path_params["deployment"])
        point = self._services.catalog.get(found.name, request.path_params["point"])
        applying = [row for row in WORKFLOWS.values() if row.takes_points and row.applies_points]
        return self.render(
            "point.html",
            session,
            point=point,
            workflows=[*applying, REMOVE_BACKUP],
            now=self._services.clock.now(),
        )

    def files(self, request: Request, session: ConsoleSession) -> Response:
        """Return one directory of what a restore point holds of an instance."""
        found = self._services.deployments.get(request.path_params["deployment"])
        point = self._services.catalog.get(found.name, request.path_params["point"])
        return self.render("files.html", session, point=point, seen=look_into(self._services, request))

    def plan(self, request: Request, session: ConsoleSession) -> Response:
        """Return what a workflow would do, with the button that does it."""
        workflow = workflow_named(request.path_params["workflow"])
        deployment = request.path_params["deployment"]
        parameters = chosen_parameters(request.query_params)
        report = preview(
            self._services,
            WorkflowRequest(deployment=deployment, workflow=workflow.name, parameters=parameters),
        )
        return self.render(
            "plan.html",
            session,
            plan=report,
            workflow=workflow,
            deployment=deployment,
            parameters=parameters,
            needed=role_for(workflow.name),
        )

    def policy(self, request: Request, session: ConsoleSession) -> Response:
        """Return the form of one policy, or of a new one."""
        deployment = self._services.deployments.get(request.path_params["deployment"]).name
        name = request.query_params.get("name", "")
        given = kept_keys(self._services, deployment, name)
        return self._policy_form(session, name, given, deployment=deployment, sections=sections(given))

    def policy_plan(self, request: Request, session: ConsoleSession) -> Response:
        """Return what keeping a form would mean, with the button that does; what is wrong, in the form."""
        deployment = self._services.deployments.get(request.path_params["deployment"]).name
        asked = dict(request.query_params)
        name = asked.get("name", "")
        given = kept_keys(self._services, deployment, name)
        removing = asked.get("remove") == "yes"
        if removing:
            name = policy_named(self._services, deployment, name).name
        try:
            plan = None if removing else foresee(self._services, deployment, name, asked)
        except UsageError as error:
            filled_in = sections_of(asked, given)
            return self._policy_form(
                session, name, given, deployment=deployment, sections=filled_in, wrong=error
            )
        texts = {key: asked[key] for key in (plan.keys if plan is not None else ())}
        return self.render(
            "policy_plan.html",
            session,
            deployment=deployment,
            policy=name,
            removing=removing,
            plan=plan,
            texts=texts,
            version=asked.get("version") or version_of(given),
            now=self._services.clock.now(),
        )

    def _policy_form(
        self, session: ConsoleSession, name: str, given: Mapping[str, Json], **values: Any
    ) -> Response:
        shown: dict[str, Any] = {
            "policy": name,
            "exists": bool(given),
            "version": version_of(given),
            "wrong": None,
        }
        return self.render("policy.html", session, **(shown | values))

    def execution(self, request: Request, session: ConsoleSession) -> Response:
        """Return one execution, live while it runs."""
        report = self._report(request.path_params["execution"])
        running = report.execution.state is ExecutionState.RUNNING
        return self.render(
            "execution.html",
            session,
            report=report,
            pictures=pictures_of(report),
            curves=self._curves(report),
            running=running,
        )

    async def live(self, request: Request, session: ConsoleSession) -> Response:
        """Return the execution's middle part as server-sent events, a new one whenever it has changed."""
        execution = request.path_params["execution"]
        await run_in_threadpool(self._services.executions.get, execution)

        async def parts() -> AsyncIterator[str]:
            shown = ""
            while not await request.is_disconnected():
                report = await run_in_threadpool(self._report, execution)
                part = self._templates.get_template("_execution.html").render(
                    report=report, pictures=pictures_of(report), session=session, roles=UserRole
                )
                # a comment asks whether somebody is there, and may be, though nothing has changed
                yield ":\n\n" if part == shown else f"data: {json.dumps(part)}\n\n"
                shown = part
                if report.execution.state is not ExecutionState.RUNNING:
                    yield "event: over\ndata: {}\n\n"
                    return
                await asyncio.sleep(_LIVE_S)

        return StreamingResponse(parts(), media_type="text/event-stream")

    def audit(self, request: Request, session: ConsoleSession) -> Response:
        """Return who did what."""
        del request
        return self.render("audit.html", session, deeds=self._audit.last())

    def metrics(self, request: Request, session: ConsoleSession | None) -> Response:
        """Return figures for Prometheus."""
        del request, session
        figures = ((each.metric, each.labels, each.value) for each in samples(self._services))
        return PlainTextResponse(render_metrics(figures), media_type="text/plain; version=0.0.4")

    def _last_executions(self, deployment: DeploymentName) -> Sequence[Execution]:
        """Return the last ones, newest first; those that only measure are in the curves."""
        found = self._services.executions.list(deployment)
        return [each for each in reversed(found) if not workflow_named(each.workflow).measures][:_EXECUTIONS]

    def _curves(self, report: ExecutionReport) -> Curves | None:
        began = report.execution.created_at
        return curves_of(
            measured_around(self._services, report.execution),
            (began, report.execution.ended_at or began + report.total_s),
        )

    def _report(self, execution: str) -> ExecutionReport:
        found = self._services.executions.get(execution)
        history = History.of(self._services.executions.journal(found.id).read())
        plan = self._services.executions.plan(found.id)
        return report_execution(found, plan, history, self._services.catalog.list(found.deployment))


def _offered(role: UserRole) -> list[Workflow]:
    """Return the workflows that work on a whole deployment and that *role* may run, backups apart."""
    whole = [row for row in WORKFLOWS.values() if not (row.takes_points or row.makes_point)]
    return [row for row in whole if role >= role_for(row.name)]


def chosen_parameters(given: Mapping[str, str]) -> dict[str, Json]:
    """Return the parameters that a form may carry."""
    found: dict[str, Json] = {}
    if given.get("snapshot_name"):
        found["snapshot_name"] = given["snapshot_name"]
    with suppress(ValueError):  # no kind is said, or one that is none
        found["snapshot_incremental"] = PointKind(given.get("kind", "")) is PointKind.SNAPSHOT
    return found


def role_for(workflow: str) -> UserRole:
    """Return the role that running *workflow* needs: what replaces or removes anything is an admin's."""
    row = workflow_named(workflow)
    return (
        UserRole.ADMIN if row.applies_points or row.removes_points or row.takes_former else UserRole.OPERATOR
    )
