"""A deployment: one running instance of a blueprint, named."""

from __future__ import annotations

from dataclasses import dataclass

from quiesce.model.ids import DeploymentName
from quiesce.model.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What is kept of a deployment."""

    name: DeploymentName
    #: path of the blueprint's main file
    blueprint: str
    #: directory in which the blueprint's scripts are looked for
    blueprint_dir: str
    created_at: float
    topology: Topology
