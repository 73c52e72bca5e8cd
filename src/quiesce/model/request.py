"""What a user asks for: a workflow on a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quiesce.model.ids import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRequest:
    """A workflow, the deployment it is to run on, and its parameters as they were given."""

    deployment: str
    workflow: str
    parameters: Mapping[str, Json] = field(default_factory=dict)
    allow_custom_parameters: bool = False
    #: whether it is meant for the machine that runs it, although another one has made what it works on
    here: bool = False
