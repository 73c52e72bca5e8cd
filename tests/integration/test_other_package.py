"""A provider in a package of its own works in quiesce and in Cloudify, without a line in ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from quiesce.model.capabilities import Description

from .cloudify_lab.lab import ROOT, Lab

ACME = ROOT / "tests" / "other_package" / "acme"
NODES = {
    "box": {"type": "acme.nodes.Box", "properties": {"path": {"get_input": "box"}}},
    "empty": {"type": "cloudify.nodes.Root"},
}

# both packages are installed once for all that need them
pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("other package")]


def wheel_of(project: Path, directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "-q", "wheel", "--no-deps", "-w", str(directory), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{project.name} cannot be built: {done.stderr.strip()[-200:]}")
    (wheel,) = directory.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the other package."""
    return wheel_of(ACME, tmp_path_factory.mktemp("acme"))


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """What the provider saves: a directory with one file."""
    box = tmp_path / "box"
    box.mkdir()
    (box / "content").write_text("first")
    return box


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """An environment in which both packages are installed, and nothing of this tree is seen."""

    place: Path
    home: Path

    def run(self, *command: str, expect: int = 0) -> str:
        done = subprocess.run(
            [str(self.place / "bin" / command[0]), *command[1:]],
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "QUIESCE_HOME": str(self.home / "q")},
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def blueprint(self, *imports: str) -> Path:
        path = self.home / "blueprint.yaml"
        content = {
            "tosca_definitions_version": "cloudify_dsl_1_3",
            "imports": ["cloudify/types/types.yaml", *imports],
            "inputs": {"box": {"type": "string"}},
            "node_templates": NODES,
        }
        path.write_text(yaml.safe_dump(content))
        return path


@pytest.fixture(scope="module")
def place(acme: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("environment")
    venv.create(place)
    wheel = wheel_of(ROOT, tmp_path_factory.mktemp("quiesce"))
    pip = [sys.executable, "-m", "pip", "-q", "--python", str(place / "bin" / "python")]
    done = subprocess.run(
        [*pip, "install", str(wheel), str(acme)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"the package index does not give what quiesce needs: {done.stderr.strip()[-200:]}")
    return place


@pytest.fixture
def scratch(place: Path, tmp_path: Path) -> Scratch:
    home = tmp_path / "home"
    home.mkdir()
    return Scratch(place=place, home=home)


def test_it_works_in_quiesce(scratch: Scratch, box: Path) -> None:
    """Its node types come with plugin:quiesce; plan, doctor, backup, restore and removal reach it."""
    blueprint = scratch.blueprint("plugin:quiesce")
    scratch.run("quiesce", "init", str(blueprint), "-b", "d", "-i", f"box={box}")
    planned = scratch.run("quiesce", "plan", "backup", "d")
    assert [word for word in ("freeze", "cut", "thaw") if word not in planned] == []
    assert f"the box is at {box}" in scratch.run("quiesce", "doctor", "d")
    scratch.run("quiesce", "backup", "d", "--snapshot-name", "p", "--max-freeze", "10m")
    assert not (box / "frozen").exists()
    (box / "content").write_text("second")
    assert "p is partly proven" in scratch.run("quiesce", "backups", "verify", "d", "p")
    scratch.run("quiesce", "restore", "d", "--snapshot-name", "p", "--max-freeze", "10m")
    assert (box / "content").read_text() == "first"
    assert "content_bytes" in scratch.run("quiesce", "statistics", "d")
    scratch.run("quiesce", "remove-backup", "d", "--snapshot-name", "p")
    assert [path.name for path in (box / "points").iterdir() if path.name.endswith("-p")] == []


def test_its_node_types_can_be_imported_by_its_own_name(scratch: Scratch, box: Path) -> None:
    """Alone, or beside ours; no other name is answered."""
    for imports in (("plugin:quiesce-acme",), ("plugin:quiesce", "plugin:quiesce-acme")):
        shown = json.loads(
            scratch.run("quiesce", "blueprint", "show", str(scratch.blueprint(*imports)), "-i", f"box={box}")
        )
        operations = _operations(shown, "box")
        assert operations["cloudify.interfaces.snapshot.create"] == {
            "inputs": {},
            "operation": "quiesce.acme.snapshot",
            "plugin": "acme",
        }
    scratch.run("quiesce", "blueprint", "show", str(scratch.blueprint("plugin:acme-nothing")), expect=3)


def _operations(shown: Mapping[str, Any], node: str) -> dict[str, Any]:
    (found,) = [each for each in shown["plan"]["nodes"] if each["id"] == node]
    operations: dict[str, Any] = found["operations"]
    return operations


def test_our_own_plugin_files_do_not_hold_its_types(scratch: Scratch) -> None:
    """Each package writes its own, whatever else is installed."""
    script = (
        "from quiesce.cloudify.plugin_file import FILES, HERE, plugin_file\n"
        "assert all((HERE / name).read_text() == plugin_file(name) for name in FILES)\n"
        "assert 'acme' not in plugin_file('plugin.yaml')\n"
    )
    scratch.run("python", "-c", script)


def test_its_plugin_files_are_written_by_the_same_command(scratch: Scratch) -> None:
    """Plugin, version and node types as plain DSL; the workflows are in ours."""
    scratch.run("python", "-m", "quiesce.cloudify.plugin_file", "--provider", "acme")
    for name in ("plugin.yaml", "plugin_1_4.yaml", "plugin_1_5.yaml"):
        content = yaml.safe_load((scratch.home / name).read_text())
        assert set(content) == {"plugins", "node_types"}
        assert content["plugins"]["acme"]["package_name"] == "quiesce-acme"
        assert content["plugins"]["acme"]["package_version"] == "1.2"
        assert content["node_types"]["acme.nodes.Box"]["derived_from"] == "cloudify.nodes.Root"
    scratch.run("python", "-m", "quiesce.cloudify.plugin_file", "--provider", "host", expect=2)


def test_it_names_a_page_that_is_there(scratch: Scratch) -> None:
    """As each of our own providers does."""
    script = (
        "from quiesce.provider_kit.installed import installed_providers\n"
        "(acme,) = [each for each in installed_providers() if each.distribution == 'quiesce-acme']\n"
        "print(acme.description.page)\n"
    )
    page = ACME / scratch.run("python", "-c", script).strip()
    assert page.read_text().startswith("# acme\n")
    assert Description(name="acme", factory="").page == ""


@pytest.mark.platform("cfy")
def test_it_works_in_cloudify(acme: Path, box: Path, cfy_place: Path, tmp_path: Path) -> None:
    """The real cfy runs its operations: frozen, cut, thawed, restored, removed."""
    lab = OtherPackageLab(place=cfy_place, directory=tmp_path / "lab")
    lab.directory.mkdir()
    lab.install(acme)
    lab.start_with(box)
    made = lab.start("backup", "-p", "snapshot_name=p")
    order = ["quiesce.acme.freeze", "quiesce.acme.snapshot", "quiesce.acme.thaw"]
    assert [made.index(f"Task succeeded '{function}'") for function in order] == sorted(
        made.index(f"Task succeeded '{function}'") for function in order
    )
    assert not (box / "frozen").exists()
    (box / "content").write_text("second")
    lab.start("restore", "-p", "snapshot_name=p")
    assert (box / "content").read_text() == "first"
    assert "content_bytes: 5" in lab.start("statistics")
    lab.start("remove_backup", "-p", "snapshot_name=p")
    assert list((box / "points").iterdir()) == []


@dataclass(frozen=True, kw_only=True)
class OtherPackageLab(Lab):
    """A lab in which the other package is installed, beside and not within the environment of all tests."""

    @property
    def _packages(self) -> Path:
        return self.directory / "packages"

    def install(self, wheel: Path) -> None:
        command = [str(self.place / "bin" / "python"), "-m", "pip", "-q", "install", "--no-deps", "--target"]
        subprocess.run([*command, str(self._packages), str(wheel)], check=True, capture_output=True)

    def env(self) -> dict[str, str]:
        usual = super().env()
        return {**usual, "PYTHONPATH": f"{usual['PYTHONPATH']}:{self._packages}"}

    def start_with(self, box: Path) -> None:
        """Write the plugin file of the other package, and install a blueprint that imports both."""
        command = [str(self.place / "bin" / "python"), "-m", "quiesce.cloudify.plugin_file"]
        subprocess.run(
            [*command, "--provider", "acme"], env=self.env(), cwd=self.directory, check=True, timeout=120
        )
        path = self.blueprint(NODES)
        content = yaml.safe_load(path.read_text())
        content["imports"].append("plugin.yaml")
        content["inputs"] = {"box": {"default": str(box)}}
        path.write_text(yaml.safe_dump(content))
        self.cfy("profiles", "use", "local")
        self.cfy("init", str(path), "-b", "examples")
