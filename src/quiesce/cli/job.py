"""One job of a worker: ``python -m quiesce.cli.job EXECUTION``, told the request on standard input.

It ends as the command would that asks for the same, or with `os.EX_TEMPFAIL` when it could not run now.
"""

from __future__ import annotations

import json
import os
import sys

from quiesce.app.run.run import run_job
from quiesce.cli.commands.workflows import follow
from quiesce.cli.main import tune_interpreter
from quiesce.cli.printing import say
from quiesce.cli.session import services
from quiesce.errors import BusyError, DamagedPlanError, OtherHostError, QuiesceError, StoreError
from quiesce.model.ids import ExecutionId
from quiesce.model.request import WorkflowRequest
from quiesce.planning import workflow_named
from quiesce.reports.escaping import printable_lines


def main() -> None:
    """Run one job."""
    os.umask(0o077)
    tune_interpreter()
    sys.exit(_run(ExecutionId(sys.argv[1]), WorkflowRequest(**json.load(sys.stdin))))


def _run(execution: ExecutionId, request: WorkflowRequest) -> int:
    freezing = workflow_named(request.workflow).freezes
    try:
        # what executions of other deployments have left is for the machine that they ran on
        with services(freezing=freezing, warn=False) as given:
            return follow(lambda watching: run_job(given, request, watching, execution), as_json=True)
    except DamagedPlanError as error:  # it stays damaged
        return _told(execution, error)
    except (BusyError, StoreError, OtherHostError) as error:
        say(f"quiesce: {execution} waits: {printable_lines(str(error))}", err=True)
        return os.EX_TEMPFAIL
    except QuiesceError as error:
        return _told(execution, error)


def _told(execution: ExecutionId, error: QuiesceError) -> int:
    say(f"quiesce: {execution}: {printable_lines(str(error))} [{error.code}]", err=True)
    return error.exit_status


if __name__ == "__main__":
    main()
