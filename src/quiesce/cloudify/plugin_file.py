"""Writes the files that Cloudify reads: ``plugin.yaml`` for each DSL version, from the same declarations.

Run ``python -m quiesce.cloudify.plugin_file`` after parameters or node types have changed. A package that
brings a provider of its own gets its files, with its node types and without workflows, from
``python -m quiesce.cloudify.plugin_file --provider NAME``, written to the current directory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from quiesce import __version__
from quiesce.blueprint import brought_sections
from quiesce.cloudify.names import MADE_ELSEWHERE
from quiesce.model.ids import Json
from quiesce.planning import WORKFLOWS, Workflow, default_of, parameters_of
from quiesce.planning.parameters import Parameter
from quiesce.provider_kit.installed import OWN_DISTRIBUTION, InstalledProvider, installed_providers

HERE: Final = Path(__file__).parent
#: the file of each DSL version, and whether that version knows when a workflow may be started
FILES: Final = {"plugin.yaml": False, "plugin_1_4.yaml": True, "plugin_1_5.yaml": True}

_PLUGIN: Final = "quiesce"
#: what our own reader of blueprints imports as ``plugin:quiesce``
PACK: Final = HERE.parent / "blueprint" / "packs" / "quiesce.yaml"
#: unless they are given, Cloudify's own settings count (``--task-retries``)
_ENGINES_OWN: Final = ("parallel", "task_retries", "task_retry_interval")


def plugin_file(name: str) -> str:
    """Return the content of our own file called *name*, one of `FILES`."""
    content = {
        "plugins": {
            _PLUGIN: {
                "executor": "central_deployment_agent",
                "package_name": "quiesce",
                "package_version": __version__,
            }
        },
        **_types(brought_sections(OWN_DISTRIBUTION)),
        "workflows": {workflow: _workflow(row, FILES[name]) for workflow, row in WORKFLOWS.items()},
    }
    return _HEAD + yaml.safe_dump(content, sort_keys=False, width=110)


def pack() -> str:
    """Return what ``plugin:quiesce`` means to our own reader of blueprints, node types aside."""
    content = {
        "tosca_definitions_version": "cloudify_dsl_1_3",
        "plugins": {_PLUGIN: {"executor": "central_deployment_agent", "package_name": "quiesce"}},
        "workflows": {
            name: {"mapping": _mapping(row), "parameters": _all_parameters(row)}
            for name, row in WORKFLOWS.items()
        },
    }
    return _HEAD + yaml.safe_dump(content, sort_keys=False, width=110)


_HEAD: Final = "# Written by python -m quiesce.cloudify.plugin_file; do not edit.\n"


def plugin_file_of(provider: InstalledProvider) -> str:
    """Return the content of the file of the package that brings *provider*, for any DSL version."""
    sections = brought_sections(provider.distribution)
    package = {"package_name": provider.distribution, "package_version": provider.version}
    plugins = {
        name: {**plugin, **package} if isinstance(plugin, dict) else plugin
        for name, plugin in sections.get("plugins", {}).items()
    }
    content = {**({"plugins": plugins} if plugins else {}), **_types(sections)}
    return _HEAD + yaml.safe_dump(content, sort_keys=False, width=110)


def _types(sections: Mapping[str, Json]) -> dict[str, Json]:
    """Return the node types among *sections*, and what they need."""
    return {
        name: sections[name] for name in ("node_types", "relationships", "data_types") if name in sections
    }


def _workflow(workflow: Workflow, with_rules: bool) -> dict[str, Any]:
    parameters = _parameters(workflow)
    parameters["dry_run"] = {"description": "only show what would be done", "default": False}
    if workflow.takes_points:
        parameters[MADE_ELSEWHERE] = {
            "description": "the restore point is in no catalog of quiesce: the old plugin made it, say",
            "default": False,
        }
    return {
        "mapping": _mapping(workflow),
        **(
            {"availability_rules": {"node_instances_active": list(workflow.availability)}}
            if with_rules
            else {}
        ),
        "parameters": parameters,
    }


def _mapping(workflow: Workflow) -> str:
    return f"{_PLUGIN}.quiesce.cloudify.workflows.{workflow.name}"


def _all_parameters(workflow: Workflow) -> dict[str, Any]:
    """Return those of quiesce's own engine, none left to Cloudify's."""
    return {each.name: _parameter(each, workflow.name, ()) for each in parameters_of(workflow.name)}


def _parameters(workflow: Workflow) -> dict[str, Any]:
    return {
        each.name: _parameter(each, workflow.name, _ENGINES_OWN)
        for each in parameters_of(workflow.name)
        if not each.own_engine
    }


def _parameter(parameter: Parameter, workflow: str, left_to_engine: Sequence[str]) -> dict[str, Any]:
    default = default_of(parameter, workflow)
    if parameter.name in left_to_engine or default is None:
        return {"description": parameter.help, "default": ""}
    kind = "boolean" if isinstance(default, bool) else "integer" if _is_count(parameter, default) else None
    return {
        **({"type": kind} if kind else {}),
        "description": parameter.help,
        "default": default,
    }


def _is_count(parameter: Parameter, default: Json) -> bool:
    return isinstance(default, int) and not (parameter.field or "").endswith("_s")


def main(arguments: Sequence[str]) -> None:
    """Write the files of this package, or those of the package that brings ``--provider``."""
    parser = argparse.ArgumentParser(prog="python -m quiesce.cloudify.plugin_file", description=__doc__)
    known = {each.description.name: each for each in installed_providers()}
    others = [name for name, each in known.items() if each.distribution != OWN_DISTRIBUTION]
    parser.add_argument("--provider", choices=others, help="a provider that another package brings")
    chosen = parser.parse_args(arguments).provider
    if chosen is None:
        PACK.write_text(pack())
    for file in FILES:
        if chosen is None:
            (HERE / file).write_text(plugin_file(file))
        else:
            Path(file).write_text(plugin_file_of(known[chosen]))


if __name__ == "__main__":
    main(sys.argv[1:])
