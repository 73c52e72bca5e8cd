"""Workflows as a manager runs them: by Cloudify's dispatcher in a worker's process, over REST."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .lab import HERE, Lab


@dataclass(frozen=True, kw_only=True)
class Managed:
    """A deployment on the lab's stand-in of a manager."""

    lab: Lab
    port: int

    def env(self) -> dict[str, str]:
        paths = f"{HERE / 'worker'}:{HERE / 'plugin'}"
        return {
            **self.lab.env(),
            "PYTHONPATH": paths,
            "REST_PROTOCOL": "http",
            "REST_HOST": "127.0.0.1",
            "REST_PORT": str(self.port),
            "LOCAL_REST_CERT_FILE": str(self.lab.directory / "blueprint.yaml"),
            "LAB_MANAGER": str(self.port),
        }

    def ask(self, path: str, data: object = None) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v3.1/{path}"
        body = None if data is None else json.dumps(data).encode()
        with urllib.request.urlopen(url, body, timeout=30) as answer:
            return json.load(answer)

    def begin(self, workflow: str, *, execution: str, resume: bool = False, **parameters: object) -> Run:
        """Start *workflow* in a worker's process."""
        directory = self.lab.directory / f"dispatch-{execution}-{time.monotonic_ns()}"
        directory.mkdir()
        context = {
            "type": "workflow",
            "local": False,
            "task_name": f"quiesce.cloudify.workflows.{workflow}",
            "workflow_id": workflow,
            "execution_id": execution,
            "execution_token": f"token-{execution}",
            "rest_token": "",
            "rest_host": ["127.0.0.1"],
            "rest_port": self.port,
            "deployment_id": "examples",
            "blueprint_id": "examples",
            "tenant": {"name": "default_tenant"},
            "task_retries": 0,
            "task_retry_interval": 1,
            "resume": resume,
        }
        inputs = {"cloudify_context": context, "args": [], "kwargs": parameters}
        (directory / "input.json").write_text(json.dumps(inputs))
        with (directory / "output").open("w") as output:
            process = subprocess.Popen(
                [str(self.lab.place / "bin" / "python"), "-m", "cloudify.dispatch", str(directory)],
                env=self.env(),
                cwd=self.lab.directory,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return Run(process=process, directory=directory)

    def run(self, workflow: str, *, execution: str, resume: bool = False, **parameters: object) -> str:
        """Run *workflow* to its end; return its status, with the error where there is one."""
        begun = self.begin(workflow, execution=execution, resume=resume, **parameters)
        begun.process.wait(timeout=240)
        return f"{self.status(execution)} {begun.error()}".strip()

    def status(self, execution: str) -> str:
        return str(self.ask(f"executions/{execution}")["status"])

    def events(self) -> list[str]:
        return list(self.ask("events"))

    def instances(self) -> dict[str, Any]:
        return {each["id"]: each for each in self.ask("node-instances")["items"]}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A workflow in a worker's process."""

    process: subprocess.Popen[bytes]
    directory: Path

    def error(self) -> str:
        answer = json.loads((self.directory / "output.json").read_text())
        return str(answer["payload"]["message"]) if answer["type"] == "error" else ""


@contextmanager
def managed(lab: Lab, nodes: dict[str, Any]) -> Iterator[Managed]:
    """Give *nodes* as a deployment of a manager, and end that afterwards."""
    blueprint, told = lab.blueprint(nodes), lab.directory / "port"
    env = {**lab.env(), "PYTHONPATH": f"{HERE / 'worker'}:{HERE / 'plugin'}"}
    command = [str(lab.place / "bin" / "python"), str(HERE / "manager.py"), str(blueprint), str(told)]
    with (lab.directory / "manager.log").open("w") as log:
        process = subprocess.Popen(command, env=env, cwd=lab.directory, stdout=log, stderr=subprocess.STDOUT)
        try:
            ends = time.monotonic() + 60
            while not told.exists():
                assert process.poll() is None, (lab.directory / "manager.log").read_text()
                assert time.monotonic() < ends, "the stand-in of the manager did not start"
                time.sleep(0.05)
            yield Managed(lab=lab, port=int(told.read_text()))
        finally:
            for guard in lab.guards():  # without its manager it would try for ever
                with suppress(ProcessLookupError):
                    os.kill(guard, signal.SIGKILL)
            process.kill()
            process.wait()
