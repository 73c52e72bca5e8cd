"""The real command line on a deployment of two machines and a disk on the stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fakegce.estate import PROJECT, ZONE, Estate

BLUEPRINT = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, 'plugin:quiesce']
dsl_definitions:
  config: &config {{project: {project}, zone: {zone}, api_endpoint: '{url}'}}
node_templates:
  web:
    type: quiesce.nodes.gcp.Instance
    properties: {{name: web, gcp_config: *config}}
    interfaces:
      cloudify.interfaces.freeze:
        fs_prepare: {{implementation: freeze.sh, executor: central_deployment_agent}}
        fs_finalize: {{implementation: thaw.sh, executor: central_deployment_agent}}
  store:
    type: quiesce.nodes.gcp.Instance
    properties: {{name: store, gcp_config: *config, copy_as: machine_image}}
  archive:
    type: quiesce.nodes.gcp.Disk
    properties: {{name: archive, gcp_config: *config}}
"""
WEB = f"projects/{PROJECT}/zones/{ZONE}/instances/web"
STORE = f"projects/{PROJECT}/zones/{ZONE}/instances/store"
ARCHIVE = f"projects/{PROJECT}/zones/{ZONE}/disks/archive"


class CommandLine:
    """One home of quiesce; every command is a process of its own."""

    def __init__(self, home: Path, url: str, estate: Estate) -> None:
        self.home, self.estate = home, estate
        self.frozen = home / "frozen"
        home.mkdir(parents=True, exist_ok=True)
        (home / "blueprint.yaml").write_text(BLUEPRINT.format(project=PROJECT, zone=ZONE, url=url))
        (home / "freeze.sh").write_text(f"#!/bin/sh\ntouch {self.frozen}\n")
        (home / "thaw.sh").write_text(f"#!/bin/sh\nrm -f {self.frozen}\n")
        self.environment = {**os.environ, "QUIESCE_HOME": str(home / "state"), "NO_COLOR": "1"}

    def build(self) -> None:
        """Make the machines and the disk that the blueprint names."""
        self.estate.machine_with_disks("web", 2)
        self.estate.machine_with_disks("store", 2)
        self.estate.disk("archive")

    def write_all(self, token: str) -> None:
        """Change what every disk holds."""
        self.estate.write_all(WEB, token)
        self.estate.write_all(STORE, token)

    def read_all(self) -> tuple[str, str]:
        """Return what the disks of the two machines hold."""
        return self.estate.read_all(WEB), self.estate.read_all(STORE)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command."""
        command = [sys.executable, "-m", "quiesce.cli.main", *arguments]
        return subprocess.Popen(
            command,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments: str, status: int | None = 0) -> str:
        """Run a command to its end; returns what it printed."""
        process = self.start(*arguments)
        text, _ = process.communicate(timeout=120)
        assert status is None or process.returncode == status, f"{arguments}: {process.returncode}\n{text}"
        return text

    def json(self, *arguments: str) -> Any:
        """Run a command with ``--json``; returns what it said."""
        return json.loads(self.run(*arguments, "--json"))
