"""Topology and request in, plan out: pure functions."""

from quiesce.planning.parameters import PARAMETERS, default_of, parameters_of, read_parameters
from quiesce.planning.prediction import predictor
from quiesce.planning.registry import WORKFLOWS, Workflow, plan_workflow, workflow_named
from quiesce.planning.window import predict_window_s

__all__ = [
    "PARAMETERS",
    "WORKFLOWS",
    "Workflow",
    "default_of",
    "parameters_of",
    "plan_workflow",
    "predict_window_s",
    "predictor",
    "read_parameters",
    "workflow_named",
]
