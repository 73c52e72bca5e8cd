"""Adapter from Cloudify's blueprint language to our topology.

A blueprint goes through the rooms of this package in their order: `reading` (with the type `packs` that we
ship), `checking`, `evaluating`, `instances`. `load_blueprint` takes it through the first three, `instantiate`
makes the topology of a new deployment from it, and `EvaluatedDeployment` answers, while that lives, the
functions that only a live deployment can. `describe` shows a blueprint as plain data.
"""

from quiesce.blueprint.describe import describe
from quiesce.blueprint.evaluating.deployment import EvaluatedDeployment
from quiesce.blueprint.instances.instantiation import instantiate, with_instances
from quiesce.blueprint.instances.local_profile import LocalDeployment, default_profile, read_cfy_local
from quiesce.blueprint.loader import load_blueprint
from quiesce.blueprint.model import Blueprint
from quiesce.blueprint.reading.problems import InvalidBlueprintError
from quiesce.blueprint.reading.sources import ImportPolicy, brought_sections

__all__ = [
    "Blueprint",
    "EvaluatedDeployment",
    "ImportPolicy",
    "InvalidBlueprintError",
    "LocalDeployment",
    "brought_sections",
    "default_profile",
    "describe",
    "instantiate",
    "load_blueprint",
    "read_cfy_local",
    "with_instances",
]
