"""quiesce's command line on the OpenStack lab, in a home of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import client_config

#: states of executions that need nothing more
OVER = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    text: str


class CommandLine:
    """Runs ``quiesce`` on one deployment."""

    def __init__(self, home: Path, deployment: str = "shop") -> None:
        self.home = home
        self.deployment = deployment
        self._environment = {**os.environ, "QUIESCE_HOME": str(home / "state")}

    def init(self, nodes: Mapping[str, Any]) -> None:
        """Describe the deployment: node templates of the official plugin's types."""
        self.init_with(blueprint_of(nodes))

    def init_with(self, blueprint: Mapping[str, Any]) -> None:
        """Describe the deployment by a whole blueprint."""
        path = self.home / "blueprint.yaml"
        path.write_text(json.dumps(blueprint))
        self.run("init", str(path), "-b", self.deployment)

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run to the end, insist on the exit status, and return what was printed."""
        done = subprocess.run(
            self._command(arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def on(self, workflow: str, *arguments: str, status: int = 0) -> str:
        """Run a workflow on the deployment."""
        return self.run(workflow, self.deployment, *arguments, status=status)

    def attempt(self, *arguments: str) -> Ended:
        """Run a workflow on the deployment, however it ends."""
        workflow, *rest = arguments
        done = subprocess.run(
            self._command([workflow, self.deployment, *rest]),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        return Ended(status=done.returncode, text=done.stdout + done.stderr)

    def settle(self) -> None:
        """Do what an operator does after a crash: take every unfinished execution up again."""
        for execution in self.executions():
            if execution["state"] not in OVER:
                self.attempt_plain("executions", "resume", str(execution["id"]))

    def attempt_plain(self, *arguments: str) -> None:
        """Run any command, however it ends."""
        subprocess.run(
            self._command(arguments), env=self._environment, capture_output=True, check=False, timeout=600
        )

    def killed_at(self, words: Sequence[str], workflow: str, *arguments: str, after_s: float = 0) -> bool:
        """Run a workflow and kill it with its event line that has all *words*; tell whether one came."""
        process = subprocess.Popen(
            self._command([workflow, self.deployment, *arguments]),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        with process, process.stdout:
            for line in process.stdout:
                if all(word in line for word in words):
                    time.sleep(after_s)
                    process.send_signal(signal.SIGKILL)
                    return True
        return False

    def executions(self) -> list[dict[str, Any]]:
        """Return the deployment's executions, oldest first."""
        return list(self._data("executions", "list", self.deployment))

    def backups(self) -> list[dict[str, Any]]:
        """Return the deployment's restore points."""
        return list(self._data("backups", "list", self.deployment))

    def _data(self, *arguments: str) -> Any:
        command = self._command([*arguments, "--json"])
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=True, timeout=60
        )
        answer = json.loads(done.stdout)
        return next((value for value in answer.values() if isinstance(value, list)), [])

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "quiesce.cli.main", *arguments]


class Hooks:
    """A freeze of the blueprint's own: scripts beside it that note what they did."""

    def __init__(self, directory: Path) -> None:
        self._notes = directory / "notes"
        self._operations = {}
        for operation, word in (("fs_prepare", "pause"), ("fs_finalize", "go on")):
            (directory / f"{operation}.sh").write_text(f'#!/bin/sh\necho {word} >>"$NOTES"\n')
            self._operations[operation] = {
                "implementation": f"{operation}.sh",
                "inputs": {"NOTES": str(self._notes)},
            }

    def on(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Return *node* with these hooks bound."""
        return {**node, "interfaces": {"cloudify.interfaces.freeze": self._operations}}

    def notes(self) -> list[str]:
        """Return what was done, in order."""
        return self._notes.read_text().splitlines() if self._notes.exists() else []


def blueprint_of(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a blueprint with *nodes* of the official plugin's types."""
    return {
        "tosca_definitions_version": "cloudify_dsl_1_3",
        "imports": ["cloudify/types/types.yaml", "plugin:cloudify-openstack-plugin"],
        "node_templates": nodes,
    }


def server_node(server_id: str, *relationships: tuple[str, str]) -> dict[str, Any]:
    """Return the node template of an existing server, as users of the official plugin write it."""
    return _node("cloudify.nodes.openstack.Server", server_id, relationships)


def volume_node(volume_id: str, *relationships: tuple[str, str]) -> dict[str, Any]:
    """Return the node template of an existing volume."""
    return _node("cloudify.nodes.openstack.Volume", volume_id, relationships)


def network_node(sort: str, resource_id: str) -> dict[str, Any]:
    """Return the node template of an existing network object; *sort* is a type's last word: ``Subnet``."""
    return _node(f"cloudify.nodes.openstack.{sort}", resource_id, ())


def _node(type_: str, resource_id: str, relationships: Sequence[tuple[str, str]]) -> dict[str, Any]:
    config = client_config()
    del config["user_domain_name"], config["project_domain_name"]
    node: dict[str, Any] = {
        "type": type_,
        "properties": {
            "client_config": config,
            "use_external_resource": True,
            "resource_config": {"id": resource_id},
        },
    }
    if type_.endswith("Server"):
        node["properties"]["agent_config"] = {"install_method": "none"}
    if relationships:
        node["relationships"] = [{"type": kind, "target": target} for kind, target in relationships]
    return node
