"""A wagon for a manager, built by the real ``wagon`` of cfy's environment from the wheel of this tree."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

from .cloudify_lab.lab import ROOT

pytestmark = [pytest.mark.platform("cfy"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wagon(cfy_place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wagon that docs/cloudify.md describes, of this tree instead of the published package.

    ``wagon`` asks a source directory's setup.py for name and version; what is built is built as always.
    """
    directory = tmp_path_factory.mktemp("wagon")
    (wheel,) = (cfy_place / "wheels").glob("quiesce-*.whl")
    told = {"--name": "quiesce", "--version": wheel.name.split("-")[1]}
    source = directory / "source"
    shutil.copytree(ROOT, source, ignore=lambda _, names: {name for name in names if name[0] == "."})
    (source / "setup.py").write_text(f"import sys; print({told}[sys.argv[1]])")
    (directory / "requirements.txt").write_text(f"quiesce[ssh] @ {wheel.as_uri()}")
    command = [str(cfy_place / "bin" / "wagon"), "create", str(source)]
    command += ["-r", str(directory / "requirements.txt"), "-o", str(directory)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (archive,) = directory.glob("quiesce-*.wgn")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(directory / "unpacked")
    return directory / "unpacked" / "quiesce"


def test_a_wagon_says_whose_it_is(wagon: Path, cfy_place: Path) -> None:
    """A manager reads the package's name and version to answer ``plugin:quiesce``."""
    told = json.loads((wagon / "package.json").read_text())
    (wheel,) = (cfy_place / "wheels").glob("quiesce-*.whl")
    assert told["package_name"] == "quiesce"
    assert told["package_version"] == wheel.name.split("-")[1]


def test_a_wagon_holds_quiesce_and_all_that_it_needs(wagon: Path, cfy_place: Path) -> None:
    """It installs where there is no network; the plugin file and the workflows it names are inside."""
    wheels = {path.name.split("-")[0].lower(): path for path in (wagon / "wheels").glob("*.whl")}
    with zipfile.ZipFile(wheels["quiesce"]) as content:
        names = set(content.namelist())
        plugin = yaml.safe_load(content.read("quiesce/cloudify/plugin_1_5.yaml"))
    assert {"quiesce/cloudify/workflows.py", "quiesce/cloudify/guard.py"} <= names
    assert plugin["plugins"]["quiesce"]["package_name"] == "quiesce"
    assert "paramiko" in wheels
    missing = subprocess.run(
        [str(cfy_place / "bin" / "python"), "-m", "pip", "install", "--dry-run", "--ignore-installed",
         "--no-index", "--find-links", str(wagon / "wheels"), "quiesce[ssh]"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert missing.returncode == 0, missing.stderr


def test_the_plugin_file_names_what_the_wagon_brings(wagon: Path) -> None:
    """The version in the file is the wagon's: a manager matches them."""
    told = json.loads((wagon / "package.json").read_text())
    (wheel,) = (wagon / "wheels").glob("quiesce-*.whl")
    with zipfile.ZipFile(wheel) as content:
        for name in ("plugin.yaml", "plugin_1_4.yaml", "plugin_1_5.yaml"):
            plugin = yaml.safe_load(content.read(f"quiesce/cloudify/{name}"))["plugins"]["quiesce"]
            assert str(plugin["package_version"]) == told["package_version"]
