"""A database server under test: asked for the contract, or operation by operation."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.forgetful import forgetful
from tests.labs.databases.server import DatabaseServer
from tests.repository_objects import left_in, plant_foreign

from quiesce.backups import BackupHome
from quiesce.model.call import Call
from quiesce.model.ids import BackupName, ExecutionId, Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.ports import Provider, ProviderSettings
from quiesce.testing import Subject
from quiesce.testing.contexts import RecordingContext

#: a freeze of another process, which is killed
HOLDING = """
import importlib, sys
from pathlib import Path
deployment = importlib.import_module(sys.argv[1]).Deployment.of(Path(sys.argv[2]), sys.argv[3])
deployment.freeze()
print("frozen", flush=True)
sys.stdin.read()
"""


def settings_below(root: Path) -> ProviderSettings:
    """Return the settings of a provider that keeps everything below *root*."""
    return ProviderSettings(
        state_dir=str(root / "state"), repository=str(root / "repository"), keys_file=str(root / "keys")
    )


class ContractSubject(Subject):
    """A server of this machine, for the contract of providers."""

    #: makes the provider under test
    make: Callable[[ProviderSettings], Provider]

    def __init__(self, server: DatabaseServer, **properties: Json) -> None:
        self.server, self.root = server, server.root
        self.lost: list[Operation] = []
        self.providers: list[Provider] = []
        self.properties = {"data_directory": str(server.data), **properties}

    @property
    def settings(self) -> ProviderSettings:
        """Those of a provider that keeps everything below the server's root."""
        return settings_below(self.root)

    def home(self) -> BackupHome:
        return BackupHome.of(self.settings)

    def provider(self) -> Provider:
        self.providers.append(forgetful(type(self).make(self.settings), self.lost))
        return self.providers[-1]

    def be_running(self) -> None:
        """Have the server run, as `write` and `read` need it."""
        if not self.server.running:
            self.server.start()

    def running(self) -> bool:
        return self.server.running

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)

    def lose_answer(self, operation: Operation) -> None:
        self.lost.append(operation)

    def objects(self) -> frozenset[str]:
        stored = left_in(self.root / "repository", self.root / "drafts")
        kept = self.server.base.glob(".quiesce-*")
        return frozenset(str(path.relative_to(self.root)) for path in (*stored, *kept))

    def plant_foreign(self, point: str, *, full: bool) -> None:
        plant_foreign(self.settings, point, self.instance)

    def call(self, operation: Operation, **changes: object) -> Call:
        if operation in (Operation.APPLY, Operation.REVERT) and self.server.pids:
            self.server.stop()
        return super().call(operation, **changes)

    def close(self) -> None:
        for provider in self.providers:
            provider.close()


class DeploymentSubject(Subject):
    """One server of a deployment, asked operation by operation."""

    root: Path
    provider_now: Provider

    def do(self, operation: Operation, number: int = 1, **changes: object) -> Outcome:
        """Perform *operation* on the restore point of that number."""
        changes = {"point": BackupName(f"p{number}"), "execution": ExecutionId(f"e{number}"), **changes}
        call = self.call(operation, full=True, **changes)
        return self.provider_now.perform(call, RecordingContext(timeout_s=self.timeout_s))

    def freeze(self, seconds: float = 60.0) -> None:
        self.do(Operation.FREEZE, thaw_after_s=seconds)

    def is_frozen(self) -> bool | None:
        return self.provider_now.is_frozen(self.call(Operation.FREEZE), RecordingContext())

    def put_back(self, artifact: object, number: int = 1) -> None:
        """Put a restore point back, up to its probe."""
        self.do(Operation.STOP, number)
        self.do(Operation.APPLY, number, artifact=artifact)
        self.do(Operation.START, number)
        self.do(Operation.PROBE, number)

    def restore(self, artifact: object, number: int = 1) -> None:
        """Put a restore point back, in the groups of the workflow."""
        self.put_back(artifact, number)
        self.do(Operation.CONFIRM, number)

    def holder(self) -> int:
        """Return the process that holds the server."""
        (state,) = (self.root / "state/holds").glob("*.json")
        return int(json.loads(state.read_text())["pid"])

    @contextlib.contextmanager
    def frozen_by_another(self, module: str, host: str) -> Iterator[subprocess.Popen[str]]:
        """Have another process, which *module* gives the server behind *host*, freeze it."""
        command = [sys.executable, "-c", HOLDING, module, str(self.root), host]
        here = Path(__file__).parents[3]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=here, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "frozen\n"
            yield process
