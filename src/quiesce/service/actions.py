"""What changes something: each is checked, written down, and then started as a command of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from quiesce.app.policies.policies import changed, keep_policies, policy_named
from quiesce.app.run.run import cancel
from quiesce.app.services import Services
from quiesce.model.ids import DeploymentName, Json
from quiesce.planning import workflow_named
from quiesce.service.access import ConsoleSession, RequestRefusedError
from quiesce.service.audit import Audit, Deed
from quiesce.service.files import path_of, send_file
from quiesce.service.launching import Launcher
from quiesce.service.pages import chosen_parameters
from quiesce.service.policy_form import changes_in, command_of, kept_keys, version_of

_SEE_OTHER: Final = 303


class Actions:
    """Does what forms ask for."""

    def __init__(self, services: Services, launcher: Launcher, audit: Audit) -> None:
        self._services = services
        self._launcher = launcher
        self._audit = audit

    def run(self, request: Request, session: ConsoleSession, form: Mapping[str, str]) -> Response:
        """Start a workflow and go to its execution."""
        deployment = self._services.deployments.get(request.path_params["deployment"]).name
        workflow = workflow_named(request.path_params["workflow"])
        parameters = chosen_parameters(form)
        self._note(session, workflow.name, deployment, str(parameters.get("snapshot_name", "")))
        assignments = [
            text for name, value in parameters.items() for text in ("-p", _assignment(name, value))
        ]
        command = ["executions", "start", workflow.name, "-b", deployment, *assignments]
        return self._follow(deployment, command)

    def verify(self, request: Request, session: ConsoleSession, form: Mapping[str, str]) -> Response:
        """Read a restore point again and go back to it."""
        del form
        return self._check(request, session, "verify")

    def prove(self, request: Request, session: ConsoleSession, form: Mapping[str, str]) -> Response:
        """Restore a restore point on trial and go back to it."""
        del form
        return self._check(request, session, "prove")

    def _check(self, request: Request, session: ConsoleSession, command: str) -> Response:
        deployment = self._services.deployments.get(request.path_params["deployment"]).name
        point = self._services.catalog.get(deployment, request.path_params["point"]).name
        self._note(session, command, deployment, point)
        self._launcher.start(self._services, deployment, ["backups", command, deployment, point])
        return RedirectResponse(f"/deployments/{deployment}/points/{point}", _SEE_OTHER)

    def extract(self, request: Request, session: ConsoleSession, form: Mapping[str, str]) -> Response:
        """Send one file of a restore point; who has taken out which is written down before."""
        deployment = self._services.deployments.get(request.path_params["deployment"]).name
        point = self._services.catalog.get(deployment, request.path_params["point"]).name
        path = os.fsdecode(path_of(form.get("at", "")))
        self._note(session, f"extract {request.path_params['instance']}/{path}", deployment, point)
        return send_file(self._services, request, form)

    def set_policy(self, request: Request, session: ConsoleSession, form: Mapping[str, str]) -> Response:
        """Keep a policy as the form says, unless somebody has changed it since the form was shown."""
        deployment, name = self._unchanged(request, form)
        changes = changes_in(form, kept_keys(self._services, deployment, name))
        policy = changed(self._services, deployment, name, changes)
        self._note(session, command_of(deployment, name, changes).removeprefix("quiesce "), deployment)
        keep_policies(self._services, [policy])
        return RedirectResponse(f"/deployments/{deployment}", _SEE_OTHER)

    def remove_policy(self, request: Request, session: ConsoleSession, form: Mapping[str, str]) -> Response:
        """Forget a policy, unless somebody has changed it since; what it made stays."""
        deployment, name = self._unchanged(request, form)
        policy = policy_named(self._services, deployment, name)
        self._note(session, f"policy remove {deployment} {policy.name}", deployment)
        self._services.policies.remove(deployment, policy.name)
        return RedirectResponse(f"/deployments/{deployment}", _SEE_OTHER)

    def _unchanged(self, request: Request, form: Mapping[str, str]) -> tuple[DeploymentName, str]:
        deployment = self._services.deployments.get(request.path_params["deployment"]).name
        name = form.get("name", "")
        if form.get("version") != version_of(kept_keys(self._services, deployment, name)):
            message = f"somebody has changed the policy {name!r} since you looked: look at it again"
            raise RequestRefusedError(message, 409)
        return deployment, name

    def cancel(self, request: Request, session: ConsoleSession, form: Mapping[str, str]) -> Response:
        """Ask for an execution to be cancelled; a dead one is rolled back."""
        del form
        execution = self._services.executions.get(request.path_params["execution"])
        self._note(session, f"cancel {execution.id}", execution.deployment)
        cancel(self._services, execution.id)
        if self._services.leases.holder(execution.deployment) != execution.id:
            self._launcher.start(self._services, execution.deployment, ["executions", "cancel", execution.id])
        return RedirectResponse(f"/executions/{execution.id}", _SEE_OTHER)

    def _follow(self, deployment: DeploymentName, command: Sequence[str]) -> Response:
        execution = self._launcher.start(self._services, deployment, command)
        where = f"/executions/{execution}" if execution is not None else f"/deployments/{deployment}"
        return RedirectResponse(where, _SEE_OTHER)

    def _note(self, session: ConsoleSession, what: str, deployment: str, point: str = "") -> None:
        at = self._services.clock.now()
        self._audit.add(Deed(at=at, user=session.user.name, what=what, deployment=deployment, point=point))


def _assignment(name: str, value: Json) -> str:
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"
