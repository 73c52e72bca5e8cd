"""doctor, discover, providers: what the platforms can do, and what runs there."""

from __future__ import annotations

import click

from quiesce.app.doctor import run_doctor
from quiesce.cli.session import json_option, services
from quiesce.cli.values import read_assignments
from quiesce.errors import ExitStatus, UnknownNameError, UnsupportedError
from quiesce.ports import Discoverer
from quiesce.providers.registry import describe_providers
from quiesce.reports.json import render_json
from quiesce.reports.text import table


@click.command()
@click.argument("deployment")
@json_option
def doctor(deployment: str, as_json: bool) -> int:
    """Ask every node of DEPLOYMENT whether it can really freeze, snapshot and thaw; say what to fix."""
    with services() as given:
        findings = run_doctor(given, deployment)
    if as_json:
        click.echo(render_json("findings", findings))
    failed = False
    for instance, found in findings.items():
        for finding in found:
            failed = failed or not finding.passed
            if not as_json:
                remedy = f"\n    do: {finding.remedy}" if finding.remedy and not finding.passed else ""
                mark = "ok  " if finding.passed else "FAIL"
                click.echo(f"{mark} {instance}: {finding.check}: {finding.detail}{remedy}")
    return ExitStatus.REFUSED if failed else ExitStatus.OK


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("provider")
@click.argument("endpoint", required=False)
@click.option(
    "-o", "--option", "options", multiple=True, metavar="NAME=VALUE", help="What the provider needs."
)
def discover(provider: str, endpoint: str | None, options: tuple[str, ...]) -> None:
    """Print a blueprint of what runs on PROVIDER (at ENDPOINT).

    \b
    Example:
      quiesce discover libvirt qemu:///system > blueprint.yaml
    """
    import yaml

    with services() as given:
        if provider not in {description.name for description in given.descriptions}:
            raise UnknownNameError("provider", provider, (d.name for d in given.descriptions))
        found = given.provider(provider)
        if not isinstance(found, Discoverer):
            raise UnsupportedError(f"{provider} has nothing to discover")
        texts = {name: str(value) for name, value in read_assignments(options).items()}
        if endpoint is not None:
            texts["endpoint"] = endpoint
        content = found.discover(texts)
    click.echo(yaml.safe_dump(dict(content), sort_keys=False))


@click.command()
@json_option
def providers(as_json: bool) -> None:
    """List the providers, and which node types each serves."""
    descriptions = describe_providers()
    if as_json:
        click.echo(render_json("providers", descriptions))
        return
    rows = [
        (
            description.name,
            f"quiesce[{description.extra}]" if description.extra else "-",
            ", ".join(sorted({name for kind in description.kinds for name in kind.types})) or "scripts",
        )
        for description in descriptions
    ]
    click.echo(table(("PROVIDER", "EXTRA", "NODE TYPES"), rows))
