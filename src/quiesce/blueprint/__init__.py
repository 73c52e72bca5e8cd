"""Adapter from Cloudify's blueprint language to our topology.

`load_blueprint` reads a blueprint, `instantiate` makes the topology of a new deployment from it, and
`evaluate` answers the functions in it that need a live deployment. `describe` shows it as plain data.
"""

from quiesce.blueprint.describe import describe
from quiesce.blueprint.functions import Live, LiveDeployment, Scope, evaluate
from quiesce.blueprint.instances import instantiate
from quiesce.blueprint.loader import load_blueprint
from quiesce.blueprint.model import Blueprint, Plugin, ScalingGroup, Workflow
from quiesce.blueprint.problems import FunctionError, InvalidBlueprintError, Mark, Problem
from quiesce.blueprint.sources import ImportPolicy

__all__ = [
    "Blueprint",
    "FunctionError",
    "ImportPolicy",
    "InvalidBlueprintError",
    "Live",
    "LiveDeployment",
    "Mark",
    "Plugin",
    "Problem",
    "ScalingGroup",
    "Scope",
    "Workflow",
    "describe",
    "evaluate",
    "instantiate",
    "load_blueprint",
]
