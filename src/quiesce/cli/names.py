"""What a shell completes: the names of deployments, restore points, executions and workflows.

Nothing is changed, nothing is settled, and what cannot be read completes nothing: a completion has no place
for an error.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from quiesce.app.services import Services
from quiesce.bootstrap import Application, Settings
from quiesce.errors import QuiesceError
from quiesce.planning import WORKFLOWS

#: no more are offered than anybody reads
_MOST = 200

#: a name, and what is said of it where the shell shows that
Name = tuple[str, str]


def workflow_names(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a workflow."""
    del ctx, parameter
    return _items(((row.name, row.help) for row in WORKFLOWS.values()), begun)


def deployment_names(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a deployment."""
    del ctx, parameter
    return _items(_asked(lambda services: [(name, "") for name in services.deployments.names()]), begun)


def point_names(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a restore point of the deployment that was named before; newest first."""
    del parameter
    # of a line that ends with an option whose value is still missing, click leaves what is no option unread
    deployment = ctx.params.get("deployment") or next(iter(ctx.args), None)

    def names(services: Services) -> list[Name]:
        points = services.catalog.list(services.deployments.get(deployment).name) if deployment else ()
        return [(point.name, f"{point.state}, {point.consistency.label}") for point in reversed(points)]

    return _items(_asked(names), begun)


def execution_names(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the number of an execution; newest first."""
    del ctx, parameter

    def names(services: Services) -> list[Name]:
        return [
            (each.id, f"{each.deployment}, {each.state}") for each in reversed(services.executions.list())
        ]

    return _items(_asked(names), begun)


def _asked(names: Callable[[Services], list[Name]]) -> list[Name]:
    settings = Settings.of(os.environ)
    if not settings.home.is_dir():
        return []
    try:
        application = Application(settings)
        try:
            return names(application.services)
        finally:
            application.close()
    except QuiesceError:
        return []


def _items(names: Iterable[Name], begun: str) -> list[CompletionItem]:
    found = (CompletionItem(name, help=told or None) for name, told in names if name.startswith(begun))
    return list(itertools.islice(found, _MOST))
