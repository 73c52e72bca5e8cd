"""quiesce's own state inside Cloudify: catalog, journals and guards below QUIESCE_HOME, as everywhere.

So what was made here is known to `quiesce backups`, and the other way round.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from quiesce.app.masking import Masking
from quiesce.app.services import Services
from quiesce.bootstrap import Application, Settings, start_guard
from quiesce.cloudify.live import CloudifyLive
from quiesce.cloudify.names import CLOUDIFYS
from quiesce.cloudify.planning import described_in_cloudify
from quiesce.cloudify.profile import keeping_profile, kept_deployment, profile_of
from quiesce.cloudify.secrets import know_secrets
from quiesce.cloudify.tasks import CloudifyTasks, CloudifyWorkers
from quiesce.cloudify.topology import topology_of
from quiesce.errors import NonRecoverableError, PlanError, StoreError
from quiesce.guard import GuardProcess
from quiesce.model.call import Call
from quiesce.model.deployment import Deployment
from quiesce.model.ids import InstanceId, Json, deployment_name
from quiesce.model.outcome import Outcome
from quiesce.model.topology import Topology
from quiesce.ports import Context, Provider

_GUARD: Final = "quiesce.cloudify.guard"


@contextmanager
def open_services(context: Any, masking: Masking) -> Iterator[Services]:
    """Give the services with which *context*'s workflow is run by Cloudify's tasks; close them afterwards.

    *masking* is told every secret.
    """
    settings, guards = Settings.of(os.environ), partial(_start_guard, context)
    application = Application(settings, guards=guards, masking=masking)
    try:
        with keeping_profile(context):
            yield inside_cloudify(application.services, context)
    finally:
        application.close()


def inside_cloudify(services: Services, context: Any) -> Services:
    """Return *services* with the steps performed by Cloudify, for *context* (a workflow's ``ctx``)."""
    for node in context.nodes:
        know_secrets(services.masking, {}, node.properties, {})

    def provider(name: str) -> Provider:
        return OtherPlugins() if name == CLOUDIFYS else services.provider(name)

    return replace(
        services,
        descriptions=described_in_cloudify(services.descriptions, topology_of(context)),
        provider=provider,
        live=lambda _: CloudifyLive(context, services.masking),
        performer=partial(CloudifyTasks, context),
        workers=partial(CloudifyWorkers, context=context),
    )


class OtherPlugins:
    """Stands for the provider of what Cloudify performs by other plugins; nothing is asked of it directly."""

    def perform(self, call: Call, context: Context) -> Outcome:
        """Refuse: `CloudifyTasks` performs it."""
        del context
        raise NonRecoverableError(f"{call.function} is performed by Cloudify")

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Say that nobody can tell."""
        del call, context
        return None

    def close(self) -> None:
        """Release nothing."""


def deployment_of(services: Services, context: Any, topology: Topology) -> Deployment:
    """Return Cloudify's deployment as it is now."""
    blueprint, directory = _blueprint(context)
    return Deployment(
        name=deployment_name(context.deployment.id),
        blueprint=blueprint,
        blueprint_dir=directory,
        created_at=services.clock.now(),
        topology=topology,
    )


def keep_deployment(services: Services, context: Any, now: Deployment, *, renewing: bool) -> Deployment:
    """Keep what Cloudify knows of its deployment *now*, and return it.

    Unless it is *renewing*, for which the caller holds the deployment's lease, what is known already stays:
    another execution may be running on it.

    Raises:
        PlanError: when there is another deployment of that name.
    """
    name = now.name
    if name not in services.deployments.names():
        services.deployments.add(now, _runtime_properties(context))
        return now
    known = services.deployments.get(name)
    if known.blueprint != now.blueprint:
        raise PlanError(
            f"QUIESCE_HOME knows another deployment {name!r}, of {known.blueprint}",
            hint="Set QUIESCE_HOME to another directory, or forget that one: "
            f"quiesce deployments remove {name}",
        )
    if known.topology.instances.keys() == now.topology.instances.keys():
        now = known  # `quiesce init` may have read more of the blueprint than Cloudify tells
    if renewing:
        services.deployments.renew(replace(now, created_at=known.created_at), _runtime_properties(context))
    return now


def _blueprint(context: Any) -> tuple[str, str]:
    """Return what tells this deployment from others of its name, and where its scripts lie."""
    if not context.local:
        return f"cloudify://{context.tenant_name}/{context.deployment.id}", ""
    blueprint = context.internal.handler.storage.get_blueprint()
    kept = Path(blueprint["resources"], blueprint["blueprint_filename"]).absolute()
    return str(kept), str(kept.parent)


def _runtime_properties(context: Any) -> Mapping[InstanceId, Mapping[str, Json]]:
    return {
        InstanceId(instance.id): dict(instance._node_instance.get("runtime_properties") or {})  # noqa: SLF001
        for instance in context.node_instances
    }


# -- the guard's own context ------------------------------------------------------------------------------


def _start_guard(context: Any, settings: Settings) -> GuardProcess:
    told = {"context": context._context, "profile": _profile(context), "path": sys.path}  # noqa: SLF001
    return start_guard(settings, _GUARD, [f"context {json.dumps(told)}"])


def _profile(context: Any) -> str | None:
    found = profile_of(context)
    if context.local and found is None:
        raise StoreError(
            "this deployment is kept in memory only, so no guard could thaw what is frozen",
            hint="Use cfy's local profile, or local.FileStorage.",
        )
    return found


def guards_context(told: Mapping[str, Any], hands: int) -> Any:
    """Return a workflow's ``ctx`` of the guard's own, from what the workflow *told* of its.

    In the local engine *hands* operations run side by side.
    """
    from cloudify.workflows.workflow_context import CloudifyWorkflowContext

    given = dict(told["context"])
    if told["profile"] is not None:
        given["storage"] = kept_deployment(told["profile"], given["deployment_id"], instances_open=True)
        given["local_task_thread_pool_size"] = hands
    return CloudifyWorkflowContext(given)
