"""doctor, discover, providers: what the platforms can do, and what runs there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

import click

from quiesce.app.doctor import run_doctor
from quiesce.bootstrap import Settings, examine_state
from quiesce.cli.names import deployment_names
from quiesce.cli.printing import say
from quiesce.cli.session import json_option, on_terminal, services
from quiesce.cli.values import read_assignments
from quiesce.errors import ExitStatus, UnknownNameError, UnsupportedError
from quiesce.model.capabilities import Description
from quiesce.model.options import Option, options_of
from quiesce.ports import Discoverer, Finding
from quiesce.providers.registry import describe_providers
from quiesce.reports.escaping import printable_lines
from quiesce.reports.json import render_json
from quiesce.reports.text import table

#: what is told of our own files stands under this name
_OURS: Final = "quiesce"


@click.command()
@click.argument("deployment", required=False, shell_complete=deployment_names)
@json_option
def doctor(deployment: str | None, as_json: bool) -> int:
    """Ask every node of DEPLOYMENT whether it can really freeze, snapshot and thaw; say what to fix.

    First, and without a DEPLOYMENT only: whether anybody else could have changed QUIESCE_HOME, the database,
    secrets or keys. With a DEPLOYMENT also: whether its repositories are there, ours, writable and have room
    for one more backup, and whether two nodes save the same files.
    """
    ours = examine_state(Settings.of(os.environ))
    findings: dict[str, Sequence[Finding]] = {_OURS: ours}
    if deployment is not None and all(finding.passed for finding in ours):
        with services() as given:
            findings.update(run_doctor(given, deployment).items())
    if as_json:
        say(render_json("findings", findings))
    else:
        _show(findings)
    passed = all(finding.passed for found in findings.values() for finding in found)
    return ExitStatus.OK if passed else ExitStatus.REFUSED


def _show(findings: Mapping[str, Sequence[Finding]]) -> None:
    for of, found in findings.items():
        for finding in found:
            told = finding.remedy and not finding.passed
            remedy = f"\n    do: {printable_lines(finding.remedy)}" if told else ""
            mark = "ok  " if finding.passed else "FAIL"
            say(f"{mark} {of}: {finding.check}: {printable_lines(finding.detail)}{remedy}")


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
      quiesce discover host > blueprint.yaml
      quiesce discover host -o below=/srv/shop > shop.yaml
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
        content = dict(found.discover(texts))
    remarks = str(content.pop("description", "")).splitlines()
    for remark in remarks:
        say(f"# {printable_lines(remark)}")
    say(yaml.safe_dump(content, sort_keys=False))
    if not on_terminal():  # the blueprint went to a file
        for remark in remarks[1:]:
            say(f"quiesce: {printable_lines(remark)}", err=True)


@click.command()
@click.argument("provider", required=False)
@json_option
def providers(provider: str | None, as_json: bool) -> None:
    """List the providers and which node types each serves; or the options of PROVIDER.

    An option is given by a node's property of that name, or for one execution with -p.

    \b
    Example:
      quiesce providers libvirt
    """
    found = describe_providers()
    if provider is not None:
        if provider not in {description.name for description in found}:
            raise UnknownNameError("provider", provider, (description.name for description in found))
        found = [description for description in found if description.name == provider]
    if as_json:
        say(render_json("providers", [_as_shown(description) for description in found]))
    elif provider is not None:
        say(_options_text(found[0]))
    else:
        rows = [(one.name, _extra(one), ", ".join(_node_types(one)) or "scripts") for one in found]
        say(table(("PROVIDER", "EXTRA", "NODE TYPES"), rows))


def _as_shown(description: Description) -> dict[str, object]:
    return {
        "name": description.name,
        "extra": description.extra,
        "page": description.page,
        "node_types": _node_types(description),
        "options": [
            {"name": each.name, "default": each.default_text, "help": each.help, "per_node": each.per_node}
            for each in _options(description)
        ],
    }


def _options_text(description: Description) -> str:
    options = _options(description)
    if not options:
        return f"{description.name} has no options"
    rows = [
        (each.name, "" if each.per_node else f"{description.name}_{each.name}", each.default_text, each.help)
        for each in options
    ]
    return table(("PROPERTY", "PARAMETER", "DEFAULT", "MEANING"), rows)


def _options(description: Description) -> Sequence[Option]:
    return options_of(description.options) if description.options is not None else ()


def _node_types(description: Description) -> list[str]:
    return sorted({name for kind in description.kinds for name in kind.types})


def _extra(description: Description) -> str:
    return f"quiesce[{description.extra}]" if description.extra else "-"
