"""The recipes of CONTRIBUTING.md, followed to the letter, one after the other, in a copy of the project.

``make docs`` runs this; it is slow, since the recipes end with linters and tests.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
#: set while the recipes are followed: what they run may run this file again
INSIDE = "QUIESCE_FOLLOWING_RECIPES"
_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_FILE_NAME = re.compile(r"(?:#|<!--) (\S+\.\w+)(?: -->)?\n")
_UNANSWERED = re.compile(
    r'^(\S+?):\d+: error: Cannot instantiate abstract class "(\w+)" .*"flush"', re.MULTILINE
)


class Newcomer:
    """Follows a recipe; knows nothing but what the page says."""

    def __init__(self, copy: Path) -> None:
        self.copy = copy
        self.bin = Path(sys.executable).parent

    def follow(self, recipe: str) -> None:
        """Do what stands in the section of that name."""
        page = (ROOT / "CONTRIBUTING.md").read_text()
        section = page.split(f"\n## {recipe}\n")[1].split("\n## ")[0]
        blocks = list(_BLOCK.finditer(section))
        assert blocks
        for block in blocks:
            self._do(
                block["kind"],
                textwrap.dedent(
                    block["text"].replace(f"\n{block['indent']}", "\n").removeprefix(block["indent"])
                ),
            )

    def run(self, command: str, *, fine: bool = True) -> str:
        """Run a command as it stands on the page."""
        command = command.replace(".venv/bin/", "")
        words = shlex.split(command)
        if words[0] == "make":
            ready = f"{self.bin.parent}/.ready"
            command = f"make -o {ready} VENV={self.bin.parent} {shlex.join(words[1:])}"
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.copy,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not fine, f"{command}\n{done.stdout}"
        return done.stdout

    def answer_mypy(self) -> list[str]:
        """Give each kind of node that mypy names its ``flush = unsupported``; return their names."""
        answered = []
        for _ in range(3):
            for place, name in sorted(set(_UNANSWERED.findall(self.run("mypy", fine=False)))):
                self._add_to_class((self.copy / place).parent, name, "    flush = unsupported\n\n")
                answered.append(name)
        return answered

    def _do(self, kind: str, text: str) -> None:
        if kind == "sh":
            for command in text.splitlines():
                self.run(command)
        elif kind == "diff":
            subprocess.run(
                ["git", "apply", "--recount", "-"], cwd=self.copy, input=text, text=True, check=True
            )
            self._register()
        else:
            name = _FILE_NAME.match(text)
            assert name, f"which file is this?\n{text}"
            path = self.copy / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.removeprefix(name[0]).lstrip("\n"))

    def _register(self) -> None:
        """Do what installing does: tell of the entry points."""
        project = tomllib.loads((self.copy / "pyproject.toml").read_text())["project"]
        info = self.copy / ".site" / "quiesce-0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: quiesce\nVersion: 0\n")
        lines = [
            f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items())
            for group, points in project["entry-points"].items()
        ]
        info.joinpath("entry_points.txt").write_text("\n".join(lines))

    def _environment(self) -> dict[str, str]:
        path = [str(self.copy / "src"), str(self.copy / ".site"), str(self.copy)]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "JOBS": "2",
            INSIDE: "1",
        }

    def _add_to_class(self, folder: Path, name: str, line: str) -> None:
        for path in folder.rglob("*.py"):
            text = path.read_text()
            found = re.search(
                rf'^class {name}\(.*?\):\n(    """.*?"""\n\n?)?', text, re.MULTILINE | re.DOTALL
            )
            if found:
                text = text[: found.end()].rstrip("\n") + "\n\n" + line + text[found.end() :].lstrip("\n")
                if not re.search(r"import .*\bunsupported\b", text):
                    text = text.replace(
                        "\nfrom quiesce.",
                        "\nfrom quiesce.provider_kit.dispatch import unsupported\nfrom quiesce.",
                        1,
                    )
                path.write_text(text)
                return
        raise AssertionError(f"there is no class {name}")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    if os.environ.get(INSIDE):
        pytest.skip("the recipes are being followed")
    copy = tmp_path_factory.mktemp("clone") / "quiesce"
    copy.mkdir()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    subprocess.run(["git", "init", "-q"], cwd=copy, check=True)
    return Newcomer(copy)


def test_a_provider_is_added(newcomer: Newcomer) -> None:
    newcomer.follow("Add a provider")
    assert "nimbus_seconds" in newcomer.run("quiesce providers nimbus")
    blueprint = newcomer.copy / "blueprint.yaml"
    blueprint.write_text(
        "tosca_definitions_version: cloudify_dsl_1_3\n"
        "imports: [cloudify/types/types.yaml, plugin:quiesce]\n"
        "node_templates: {vm: {type: quiesce.nodes.nimbus.Machine}}\n"
    )
    newcomer.run(f"QUIESCE_HOME={newcomer.copy}/.home quiesce init blueprint.yaml -b shop")
    assert "freeze computes: vm_" in newcomer.run(
        f"QUIESCE_HOME={newcomer.copy}/.home quiesce plan backup shop"
    )


def test_an_operation_is_added_and_mypy_names_what_is_to_be_done(newcomer: Newcomer) -> None:
    newcomer.follow("Add an operation")
    answered = newcomer.answer_mypy()
    assert len(answered) > 10
    newcomer.run("make fix")
    newcomer.run("make lint")


def test_a_workflow_is_added(newcomer: Newcomer) -> None:
    newcomer.follow("Add a workflow")
    assert "Write what the whole deployment has buffered." in newcomer.run("quiesce --help")
    assert (
        "quiesce.cloudify.workflows.flush" in (newcomer.copy / "src/quiesce/cloudify/plugin.yaml").read_text()
    )
