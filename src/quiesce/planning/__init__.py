"""Topology and request in, plan out: pure functions."""

from quiesce.planning.cut_estimates import estimate_cut
from quiesce.planning.options import declared_options, idle_options
from quiesce.planning.parameters import PARAMETERS, default_of, parameters_of, read_parameters
from quiesce.planning.prediction import lasted, predictor, unmeasured
from quiesce.planning.registry import (
    BACKUP,
    EXTRACT,
    REMOVE_BACKUP,
    UNDO_RESTORE,
    WORKFLOWS,
    Workflow,
    freezes_in_vain,
    makes_full_point,
    plan_workflow,
    workflow_named,
)
from quiesce.planning.window import predict_total_s, predict_window_s, vain_wait_text

__all__ = [
    "BACKUP",
    "EXTRACT",
    "PARAMETERS",
    "REMOVE_BACKUP",
    "UNDO_RESTORE",
    "WORKFLOWS",
    "Workflow",
    "declared_options",
    "default_of",
    "estimate_cut",
    "freezes_in_vain",
    "idle_options",
    "lasted",
    "makes_full_point",
    "parameters_of",
    "plan_workflow",
    "predict_total_s",
    "predict_window_s",
    "predictor",
    "read_parameters",
    "unmeasured",
    "vain_wait_text",
    "workflow_named",
]
