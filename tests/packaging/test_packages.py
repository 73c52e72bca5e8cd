"""The wheel holds what it should, and both packages can be installed, used and removed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = "https://forge.example/quiesce"
DEBIAN_PYTHON = Path("/usr/bin/python3")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources."""
    root = tmp_path_factory.mktemp("wheel")
    for name in ("src", "share", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", root / "dist", root]
    subprocess.run(command, env={**os.environ, "QUIESCE_PROJECT_URL": PAGE}, check=True, capture_output=True)
    (built,) = (root / "dist").glob("*.whl")
    return built


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as content:
        return set(content.namelist())


def test_a_wheel_brings_licence_manual_pages_completions_and_urls(wheel: Path) -> None:
    names = {re.sub(r"^[^/]*\.(data|dist-info)/", "", name) for name in names_in(wheel)}
    assert "licenses/LICENSE" in names
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "share").rglob("*") if path.is_file()} <= {
        name.removeprefix("data/") for name in names
    }
    with zipfile.ZipFile(wheel) as content:
        (name,) = (name for name in content.namelist() if name.endswith("/METADATA"))
        metadata = message_from_bytes(content.read(name))
    assert metadata["License-Expression"] == "Apache-2.0"
    urls = metadata.get_all("Project-URL", [])
    assert f"Homepage, {PAGE}" in urls
    assert any(url.startswith("Documentation, ") for url in urls)


def test_a_wheel_brings_no_tests_and_nothing_of_the_clone(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names_in(wheel)}
    assert {re.sub(r"-.*\.", ".", top) for top in tops} == {"quiesce", "quiesce.data", "quiesce.dist-info"}


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_manual_pages_are_formatted_without_a_warning() -> None:
    for page in (ROOT / "share" / "man" / "man1").glob("*.1"):
        done = subprocess.run(
            ["groff", "-man", "-ww", "-z", "-Tutf8", page], capture_output=True, text=True, check=True
        )
        assert done.stderr == "", page


@pytest.mark.slow
@pytest.mark.parametrize("installer", ["pipx", "uv"])
def test_people_install_it_as_a_tool(wheel: Path, tmp_path: Path, installer: str) -> None:
    program = shutil.which(installer)
    if program is None:
        pytest.skip(f"{installer} is not installed")
    places = {
        "pipx": {"PIPX_HOME": "home", "PIPX_BIN_DIR": "bin", "PIPX_MAN_DIR": "man"},
        "uv": {"UV_TOOL_DIR": "home", "UV_TOOL_BIN_DIR": "bin"},
    }[installer]
    environment = {**os.environ, **{name: str(tmp_path / where) for name, where in places.items()}}
    install = [program, "install"] if installer == "pipx" else [program, "tool", "install"]
    done = subprocess.run(
        [*install, "--python", sys.executable, wheel],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and re.search(r"No matching|not found in|network|connect|resolve", done.stderr):
        pytest.skip(f"what it needs cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    told = subprocess.run(
        [tmp_path / "bin" / "quiesce", "--version"], capture_output=True, text=True, check=True
    )
    assert "0." in told.stdout
    if installer == "pipx":
        assert (tmp_path / "man" / "man1" / "quiesce.1").exists()


@pytest.fixture(scope="session")
def package(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package."""
    for program in ("dpkg-deb", "dpkg"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if not DEBIAN_PYTHON.exists():
        pytest.skip(f"there is no {DEBIAN_PYTHON}")
    out = tmp_path_factory.mktemp("deb")
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "build_deb.py", wheel, "--output", out],
        capture_output=True,
        text=True,
        check=False,
    )
    if "must fit" in done.stderr or "No matching distribution" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_debian_package_says_what_it_is(package: Path) -> None:
    told = subprocess.run(["dpkg-deb", "-I", package], capture_output=True, text=True, check=True).stdout
    assert re.search(r"^ Depends: python3 \(>= 3\.\d+\), python3 \(<< 3\.\d+\)", told, re.MULTILINE)
    assert f" Homepage: {PAGE}" in told
    listed = subprocess.run(["dpkg-deb", "-c", package], capture_output=True, text=True, check=True).stdout
    assert all(line.split()[1] == "root/root" for line in listed.splitlines())
    assert not re.search(
        r"^.....w....|^........w.", re.sub(r"^l.*$", "", listed, flags=re.MULTILINE), re.MULTILINE
    )
    for there in (
        "./usr/bin/quiesce",
        "./usr/share/man/man1/quiesce-backup.1.gz",
        "./usr/share/bash-completion/completions/quiesce",
        "./usr/lib/systemd/system/quiesce-run-due.timer",
        "./usr/share/doc/quiesce/copyright",
    ):
        assert f" {there}\n" in listed, there


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: dpkg installs")
def test_a_debian_package_is_installed_used_and_removed(package: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for directory in ("info", "updates", "triggers"):
        (root / "var/lib/dpkg" / directory).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    dpkg = ["dpkg", f"--root={root}", "--force-depends", "--log=/dev/null"]
    subprocess.run([*dpkg, "--install", package], check=True, capture_output=True)
    python = root / "usr/lib/quiesce/bin/python3"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("content")
    (tmp_path / "blueprint.yaml").write_text(
        "tosca_definitions_version: cloudify_dsl_1_3\n"
        "imports: [cloudify/types/types.yaml, plugin:quiesce]\n"
        "node_templates:\n"
        "  files:\n"
        "    type: quiesce.nodes.host.Directory\n"
        f"    properties: {{path: {tmp_path}/data}}\n"
    )

    def quiesce(*arguments: str) -> str:
        environment = {"QUIESCE_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        return subprocess.run(
            [python, "-P", "-m", "quiesce.cli.main", *arguments],
            env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    quiesce("init", "blueprint.yaml", "-b", "shop")
    quiesce("backup", "shop", "--full", "--snapshot-name", "one")
    (tmp_path / "data" / "file").write_text("lost")
    quiesce("restore", "shop", "--snapshot-name", "one")
    assert (tmp_path / "data" / "file").read_text() == "content"
    assert "quiesce.nodes.host.Directory" in quiesce("providers")
    subprocess.run([*dpkg, "--remove", "quiesce"], check=True, capture_output=True)
    left = (
        [path for path in (root / "usr").rglob("*") if not path.is_dir()] if (root / "usr").exists() else []
    )
    assert left == []
    assert (tmp_path / "home" / "quiesce.db").exists()
