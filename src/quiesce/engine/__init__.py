"""Plan and ports in, history out. Knows no workflow by name."""

from quiesce.engine.attempts import Attempt, timeout_s
from quiesce.engine.runner import CANCEL_LOOK_S, Purpose, RunEnvironment, Runner
from quiesce.engine.workers import ThreadWorkers

__all__ = ["CANCEL_LOOK_S", "Attempt", "Purpose", "RunEnvironment", "Runner", "ThreadWorkers", "timeout_s"]
