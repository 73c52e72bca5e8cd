"""The suspend plugin's own example blueprint runs, with the event lines of its documented transcript."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from .shop import CommandLine

SHARED = Path(__file__).parents[3] / "shared"
EXAMPLE = SHARED / "corpus/blueprints/cloudify-utilities-plugin/cloudify_suspend/examples/example.yaml"
SCRIPT = """\
from cloudify import ctx

ctx.logger.info("{workflow} server_id=%s", ctx.node.properties["resource_id"])
"""


@pytest.fixture
def examples(quiesce: CommandLine) -> CommandLine:
    """The example as the deployment ``examples``, with scripts of our own."""
    if not EXAMPLE.exists():
        pytest.skip("needs the blueprint corpus: ../shared/corpus")
    shutil.copy(EXAMPLE, quiesce.directory / "example.yaml")
    (quiesce.directory / "scripts").mkdir()
    for workflow in ("suspend", "resume"):
        (quiesce.directory / "scripts" / f"{workflow}.py").write_text(SCRIPT.format(workflow=workflow))
    quiesce("init", "example.yaml", "-b", "examples")
    return quiesce


def transcript() -> list[str]:
    """The lines of the README's first transcript (a resume, under the heading Suspend)."""
    for path in sorted((SHARED / "seed").glob("*.txt")):
        lines = path.read_text().splitlines()
        start = next((n for n, line in enumerate(lines) if "cfy execution start resume" in line), None)
        if start is not None:
            end = next(n for n in range(start, len(lines)) if lines[n].endswith("execution succeeded"))
            return lines[start + 1 : end + 1]
    pytest.skip("needs the transcript: ../shared/seed")


@pytest.mark.parametrize("workflow", ["suspend", "resume"])
def test_the_lines_are_those_of_the_transcript(examples: CommandLine, workflow: str) -> None:
    """Same lines, same order; other ids and times."""
    printed = examples("executions", "start", workflow, "-b", "examples").out.splitlines()
    expected = [line.replace("resume", workflow) for line in transcript()]
    assert [_masked(line) for line in printed] == [_masked(line) for line in expected]


def _masked(line: str) -> str:
    return re.sub(r"server_\w{6}", "server_ID", re.sub(r"^\S+ \S+", "TIME", line))
