"""What came out lower than `min_consistency` is called the same everywhere, and never completed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from quiesce.errors import ExitStatus
from tests.acceptance.conftest import CommandLine

BLUEPRINT = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  data:
    type: quiesce.nodes.host.Directory
    properties: {path: DATA}
  lock:
    type: cloudify.nodes.SoftwareComponent
    interfaces:
      cloudify.interfaces.freeze: {fs_prepare: lock.sh, fs_finalize: unlock.sh}
    relationships: [{type: cloudify.relationships.contained_in, target: data}]
"""


@pytest.fixture
def data(quiesce: CommandLine, tmp_path: Path) -> Path:
    """A directory with a service whose freeze fails while there is a file called broken."""
    path = tmp_path / "blueprint" / "data"
    path.mkdir(parents=True)
    (path / "a").write_text("a")
    script = '#!/bin/sh\n[ ! -e "DATA/broken" ]\n'.replace("DATA", str(path))
    (path.parent / "lock.sh").write_text(script)
    (path.parent / "unlock.sh").write_text("#!/bin/sh\n")
    (path.parent / "blueprint.yaml").write_text(BLUEPRINT.replace("DATA", str(path)))
    quiesce("init", str(path.parent / "blueprint.yaml"), "-b", "shop")
    return path


def test_what_fell_short_says_so_everywhere(quiesce: CommandLine, data: Path, tmp_path: Path) -> None:
    (data / "broken").touch()
    least = ("-p", "min_consistency=application")
    asked = ("-p", "snapshot_name=one", "-p", "on_prepare_error=continue", *least)
    report = tmp_path / "report.html"
    answer = quiesce("backup", "shop", *asked, status=ExitStatus.NOT_CONSISTENT)
    assert "restore point one has the consistency crash; min_consistency is application" in answer.err
    assert "succeeded" not in answer.out.splitlines()[-1]
    (listed,) = json.loads(quiesce("executions", "list", "shop", "--json").out)["executions"]
    assert listed["state"] == "not-consistent"
    for command in (("executions", "list", "shop"), ("executions", "show", listed["id"])):
        shown = quiesce(*command).out
        assert "not-consistent" in shown
        assert "completed" not in shown
    told = quiesce("events", listed["id"]).out
    assert "'backup' workflow execution not-consistent: restore point one has" in told
    assert "execution succeeded" not in told
    assert "Backuped to" not in told
    quiesce("report", listed["id"], "-o", str(report))
    assert "not-consistent" in report.read_text()
    assert quiesce.points("shop")["one"]["state"] == "complete", "what was made is kept"


def test_a_point_that_is_worth_less_than_was_asked_is_not_restored(quiesce: CommandLine, data: Path) -> None:
    (data / "broken").touch()
    asked = ("-p", "snapshot_name=one", "-p", "min_consistency=application")
    quiesce("backup", "shop", *asked[:2], "-p", "on_prepare_error=continue")
    shutil.rmtree(data)
    for command in (("restore",), ("plan", "restore")):
        answer = quiesce(*command, "shop", *asked, status=ExitStatus.REFUSED)
        assert "one has the consistency crash; min_consistency is application [plan]" in answer.err
    assert not data.exists()
