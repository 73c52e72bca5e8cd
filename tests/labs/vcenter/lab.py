"""Starts the vCenter simulator for tests, and looks at it and into it beside the provider's back.

Load it by its path: it is no part of a package.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest
from tests.repository_objects import left_in

from quiesce.model.call import Call
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, NodeId, StepId
from quiesce.model.operation import SNAPSHOT_CREATE, Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Node
from quiesce.ports import ProviderSettings
from quiesce.providers.vsphere.provider import VSphereProvider
from quiesce.testing import RecordingContext

ROOT = Path(__file__).parents[3]
BINARY = ROOT / ".lab" / "labvcsim"
USER, PASSWORD = "lab", "s3cret"


def require() -> None:
    """Skip the test, by name, where the simulator or the SDK is missing."""
    pytest.importorskip("pyVmomi", reason="pyvmomi is missing: pip install quiesce[vsphere]")
    if not BINARY.exists():
        pytest.skip("the vCenter simulator is missing: make lab-vcenter (needs Debian's golang-go)")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing, which makes the simulator's certificate")


class Lab:
    """One running simulator. Use it in a ``with`` block."""

    def __init__(
        self, directory: Path, *, machines: int = 2, task_delay: str = "20ms", flags: tuple[str, ...] = ()
    ) -> None:
        self.certificate = _certificate(directory)
        command = [str(BINARY), "-l", "127.0.0.1:0", "-user", USER, "-password", PASSWORD, "-quiet", "-ext"]
        command += ["-task-delay", task_delay, "-vm", str(machines), "-disk-mb", "4", "-cluster", "0"]
        command += ["-cert", str(self.certificate), "-key", str(directory / "key.pem"), *flags]
        with (directory / "simulator.log").open("w") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        self.port = int(urllib.parse.urlsplit(ready["url"]).port or 0)
        self._tls = ssl.create_default_context(cafile=str(self.certificate))
        self._eyes: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._eyes is not None:
            with contextlib.suppress(Exception):
                self._eyes._stub.DropConnections()
        os.kill(self._process.pid, signal.SIGTERM)
        self._process.wait(timeout=20)
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def connection(self) -> dict[str, Any]:
        """A connection_config for it, TLS verified."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "username": USER,
            "password": PASSWORD,
            "certificate_path": str(self.certificate),
        }

    # -- control ------------------------------------------------------------------------------------------

    def http(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Send a request to the simulator's own side door."""
        url = f"https://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, method=method, data=body)
        with urllib.request.urlopen(request, context=self._tls) as response:
            return bytes(response.read())

    def inject(self, **rule: Any) -> None:
        """Let calls fail: see the rules in ext.go."""
        self.http("POST", "/lab/inject", json.dumps(rule).encode())

    def heal(self) -> None:
        """Let everything work again."""
        self.http("DELETE", "/lab/inject")

    def set(self, machine: str, **properties: Any) -> None:
        """Set properties of a machine; ``__`` stands for a dot."""
        named = {name.replace("__", "."): value for name, value in properties.items()}
        self.http("POST", "/lab/vm", json.dumps({"vm": machine, "set": named}).encode())

    def hardware(
        self, machine: str, *, shared_bus: str = "noSharing", key_id: str = "", store: str = ""
    ) -> None:
        """Give a machine's bus a way of sharing, its disks a key, its datastores a file system."""
        asked = {"vm": machine, "shared_bus": shared_bus, "key_id": key_id, "store": store}
        self.http("POST", "/lab/hardware", json.dumps(asked).encode())

    def calls(self) -> dict[str, int]:
        """Return how often each method was called."""
        return dict(json.loads(self.http("GET", "/lab/calls")))

    def forget_calls(self) -> None:
        """Count from zero."""
        self.http("DELETE", "/lab/calls")

    def write(self, machine: str, text: str, *, offset: int = 0, disk: int = 0) -> None:
        """Write to a disk as the guest would."""
        query = urllib.parse.urlencode({"vm": machine, "disk": disk, "offset": offset})
        self.http("POST", f"/lab/disk?{query}", text.encode().ljust(64, b"\0"))

    def read(self, machine: str, *, offset: int = 0, disk: int = 0) -> str:
        """Read from a disk as the guest would."""
        query = urllib.parse.urlencode({"vm": machine, "disk": disk, "offset": offset, "length": 64})
        return self.http("GET", f"/lab/disk?{query}").rstrip(b"\0").decode()

    def tools_run(self, machine: str) -> None:
        """Let VMware Tools run in the machine."""
        self.set(machine, guest__toolsRunningStatus="guestToolsRunning", guest__toolsStatus="toolsOk")

    # -- eyes ---------------------------------------------------------------------------------------------

    @property
    def content(self) -> Any:
        """The service content of a session of the test's own."""
        from pyVim.connect import SmartConnect

        if self._eyes is None:
            self._eyes = SmartConnect(
                host="127.0.0.1", port=self.port, user=USER, pwd=PASSWORD, sslContext=self._tls
            )
        return self._eyes.RetrieveContent()

    def machines(self) -> dict[str, Any]:
        """Return every machine by name."""
        from pyVmomi import vim

        content = self.content
        view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
        try:
            return {machine.name: machine for machine in view.view}
        finally:
            view.DestroyView()

    def machine(self, moid: str) -> Any:
        """Return the managed object of one machine."""
        from pyVmomi import vim

        self.content  # noqa: B018  logs in
        return vim.VirtualMachine(moid, self._eyes._stub)

    def tree(self, moid: str) -> list[Any]:
        """Return a machine's snapshot tree, as nested lists of names."""
        snapshots = self.machine(moid).snapshot
        return [_names(one) for one in snapshots.rootSnapshotList] if snapshots else []

    def power(self, moid: str) -> str:
        """Return a machine's power state."""
        return str(self.machine(moid).runtime.powerState)

    def objects(self) -> frozenset[str]:
        """Return everything in it that could leak."""
        found = {f"lease {one}" for one in json.loads(self.http("GET", "/lab/leases"))}
        for name, machine in self.machines().items():
            found.add(f"machine {name}")
            found.update(f"snapshot {name}: {text}" for text in _flat(self.tree(machine._moId)))
        return frozenset(found)

    def run(self, task: Any) -> Any:
        """Wait for a task of the test's own."""
        from pyVim.task import WaitForTask

        WaitForTask(task, si=self._eyes)
        return task.info.result


class Site:
    """One machine of the simulator, and a new provider for each test."""

    def __init__(self, simulator: Any, directory: Path) -> None:
        self.simulator = simulator
        self.directory = directory
        self.name, machine = next(iter(sorted(simulator.machines().items())))
        self.machine = machine._moId
        self.others = set(simulator.machines())
        self.context = RecordingContext()
        settings = ProviderSettings(
            state_dir=str(directory),
            repository=str(directory / "backups"),
            keys_file=str(directory / "keys"),
        )
        self.provider = VSphereProvider(settings)

    def perform(self, operation: Operation, *, timeout_s: float = 30.0, **changes: Any) -> Outcome:
        self.context = RecordingContext(timeout_s=timeout_s)
        return self.provider.perform(self.call(operation, **changes), self.context)

    def call(self, operation: Operation, **changes: Any) -> Call:
        kind = "cloudify.vsphere.nodes.Server"
        hierarchy = ("cloudify.nodes.Root", "cloudify.nodes.Compute", kind)
        fields: dict[str, Any] = {
            "operation": operation,
            "interface": SNAPSHOT_CREATE,
            "function": "quiesce.vsphere.any",
            "deployment": DeploymentName("shop"),
            "execution": ExecutionId("exec1"),
            "step": StepId("step"),
            "attempt": 1,
            "instance": InstanceId("server_ab12"),
            "node": Node(id=NodeId("server"), type=kind, type_hierarchy=hierarchy),
            "properties": {"connection_config": self.simulator.connection, "resource_id": self.machine},
            "parameters": Parameters(),
            "point": BackupName("one"),
            "full": True,
        }
        return Call(**(fields | changes))

    def backup(self, *, timeout_s: float = 30.0, **changes: Any) -> Outcome:
        cut = self.perform(Operation.SNAPSHOT, timeout_s=timeout_s, **changes)
        return self.perform(Operation.COPY, timeout_s=timeout_s, artifact=cut.artifact, **changes)

    def write(self, text: str) -> None:
        self.simulator.write(self.machine, text)

    def read(self) -> str:
        return str(self.simulator.read(self.machine))

    def objects(self) -> frozenset[str]:
        stored = left_in(self.directory / "backups", self.directory / "drafts")
        return frozenset(self.simulator.objects() | {f"file {path}" for path in stored})

    def close(self) -> None:
        """Leave the simulator as it was, but for the machine's disk."""
        self.provider.close()
        self.simulator.heal()
        self.simulator.run(self.simulator.machine(self.machine).RemoveAllSnapshots_Task())
        for other in self.simulator.machines().values():
            if other._moId != self.machine and other.name not in self.others:
                with contextlib.suppress(Exception):
                    self.simulator.run(other.Destroy_Task())

    def wait_for_leases(self) -> None:
        """Let vCenter end the leases whose end could not be told to it."""
        for _ in range(80):
            if self.simulator.http("GET", "/lab/leases").strip() == b"[]":
                return
            time.sleep(0.1)
        raise AssertionError("a lease stays open")

    def untouched(self) -> bool:
        """Tell whether no rule of the simulator has struck since the last `inject`."""
        left = bool(self.simulator.http("GET", "/lab/inject") == b"1\n")
        self.simulator.heal()
        return left


def _names(tree: Any) -> list[Any]:
    return [tree.name, *[_names(child) for child in tree.childSnapshotList]]


def _flat(tree: list[Any]) -> list[str]:
    return [name for one in tree for name in ([one] if isinstance(one, str) else _flat(one))]


def _certificate(directory: Path) -> Path:
    path = directory / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(directory / "key.pem"), "-out", str(path)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return path
