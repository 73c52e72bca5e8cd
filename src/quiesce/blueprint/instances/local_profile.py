"""Reads what ``cfy`` keeps of a deployment in its local profile, as plain files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from quiesce.errors import BlueprintError, UnknownNameError
from quiesce.files.reading import read_named
from quiesce.model.ids import InstanceId, Json, NodeId
from quiesce.model.topology import CONTAINED_IN, Instance, Link

#: of one file; the profile may be another user's
_LONGEST_FILE: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDeployment:
    """A deployment as Cloudify installed it."""

    blueprint: Path
    inputs: Mapping[str, Json]
    instances: Mapping[InstanceId, Instance]
    runtime_properties: Mapping[InstanceId, Mapping[str, Json]]


def default_profile(environment: Mapping[str, str]) -> Path:
    """Return the directory of the user's local profile."""
    work = environment.get("CFY_WORKDIR") or environment.get("HOME") or os.path.expanduser("~")  # noqa: PTH111
    return Path(work) / ".cloudify" / "profiles" / "local"


def read_cfy_local(profile: Path, deployment: str) -> LocalDeployment:
    """Return what the local profile at *profile* knows of *deployment*; changes nothing.

    The blueprint is the copy that cfy keeps, next to its resources, so it stays what was installed.

    Raises:
        UnknownNameError: when there is no such deployment.
        BlueprintError: when its files are not what cfy 5 to 7 write.
    """
    known = sorted(path.parent.name for path in profile.glob("deployments/*/deployment.json"))
    if deployment not in known:
        raise UnknownNameError(f"deployment in {profile}", deployment, known)
    record = _read(profile / "deployments" / deployment / "deployment.json")
    blueprint = _read(profile / "blueprints" / str(record.get("blueprint_id")) / "blueprint.json")
    records = [
        _read(path) for path in sorted((profile / "deployments" / deployment).glob("node-instances/*.json"))
    ]
    try:
        relationships = _relationship_types(record)
        return LocalDeployment(
            blueprint=_blueprint(profile, str(record["blueprint_id"]), blueprint),
            inputs=record.get("inputs") or {},
            instances={InstanceId(each["id"]): _instance(each, relationships) for each in records},
            runtime_properties={
                InstanceId(each["id"]): each.get("runtime_properties") or {} for each in records
            },
        )
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        raise BlueprintError(f"{profile} is not a local profile as cfy 5 to 7 write it: {error!r}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_named(path, at_most=_LONGEST_FILE))
    except (OSError, ValueError, RecursionError) as error:
        raise BlueprintError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise BlueprintError(f"{path} is not what cfy writes")
    return content


def _blueprint(profile: Path, name: str, record: Mapping[str, Any]) -> Path:
    kept = profile / "blueprints" / name / "resources" / record["blueprint_filename"]
    return kept if kept.exists() else Path(record["blueprint_path"])


def _relationship_types(deployment: Mapping[str, Any]) -> Mapping[tuple[str, str], list[str]]:
    """Return each relationship's type hierarchy, by node and relationship type."""
    return {
        (name, each["type"]): each.get("type_hierarchy") or [each["type"]]
        for name, node in deployment["nodes"].items()
        for each in node.get("relationships") or ()
    }


def _instance(record: Mapping[str, Any], types: Mapping[tuple[str, str], list[str]]) -> Instance:
    node = record["node_id"]
    return Instance(
        id=InstanceId(record["id"]),
        node=NodeId(node),
        links=tuple(
            Link(
                target=InstanceId(each["target_id"]),
                type=each["type"],
                contained=CONTAINED_IN in types.get((node, each["type"]), [each["type"]]),
            )
            for each in record.get("relationships") or ()
        ),
        groups=tuple(each["id"] for each in record.get("scaling_groups") or ()),
    )
