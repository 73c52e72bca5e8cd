"""An environment with the real ``cfy`` and our built wheel, and what to do with it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
VERSION = "7.0.5"
PLACE = ROOT / ".lab" / f"cfy-{VERSION}"


class CannotInstallError(Exception):
    """The package index does not give us what we need."""


def cfy_environment() -> Path:
    """Return an environment with cfy, kept below .lab.

    Raises:
        CannotInstallError: when cfy cannot be installed here.
    """
    with _alone():
        if not (PLACE / "ready").exists():
            shutil.rmtree(PLACE, ignore_errors=True)
            venv.create(PLACE, with_pip=True)
            _pip("install", f"cloudify=={VERSION}")
            (PLACE / "ready").touch()
    return PLACE


def environment() -> Path:
    """Return an environment with cfy and the wheel of this very tree.

    Raises:
        CannotInstallError: when cfy cannot be installed here.
    """
    cfy_environment()
    installed, tree = PLACE / "installed", _fingerprint()
    with _alone():
        if not installed.exists() or installed.read_text() != tree:
            installed.unlink(missing_ok=True)
            wheels = PLACE / "wheels"
            shutil.rmtree(wheels, ignore_errors=True)
            _run([sys.executable, "-m", "pip", "-q", "wheel", "--no-deps", "-w", str(wheels), str(ROOT)])
            (wheel,) = wheels.glob("quiesce-*.whl")
            _pip("install", f"{wheel}[ssh]")
            _pip("install", "--force-reinstall", "--no-deps", str(wheel))
            installed.write_text(tree)
    return PLACE


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process install at a time; the others wait, and find it done, or hear that it cannot be."""
    PLACE.parent.mkdir(exist_ok=True)
    with PLACE.with_name(f"{PLACE.name}.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        run, _, why = lock.read().partition("\n")
        if run and run == os.environ.get("PYTEST_XDIST_TESTRUNUID"):
            raise CannotInstallError(why)
        try:
            yield
        except CannotInstallError as error:
            lock.truncate(0)
            lock.write(f"{os.environ.get('PYTEST_XDIST_TESTRUNUID', '')}\n{error}")
            raise


def _fingerprint() -> str:
    """Return what changes with any file of the package."""
    digest = hashlib.sha256()
    for path in [ROOT / "pyproject.toml", *sorted((ROOT / "src").rglob("*"))]:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _pip(*arguments: str) -> None:
    _run([str(PLACE / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q", *arguments])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotInstallError(done.stderr.strip().rpartition("\n")[2])


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process is gone, or not ours
        return b""


def _starting(workflow: str, *arguments: str) -> list[str]:
    """Return the command that starts a workflow of the lab's deployment."""
    return ["cfy", "executions", "start", workflow, "-b", "examples", *arguments]


@dataclass(frozen=True, kw_only=True)
class Lab:
    """One user's local profile of cfy."""

    place: Path
    directory: Path

    @property
    def plugin(self) -> Path:
        """Our plugin.yaml as it was installed."""
        (found,) = self.place.glob("lib/python3.*/site-packages/quiesce/cloudify/plugin.yaml")
        return found

    def env(self) -> dict[str, str]:
        return {
            "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.directory),
            "PYTHONPATH": str(HERE / "plugin"),
            "PYTHONWARNINGS": "ignore",
            "LAB_DIR": str(self.directory),
            "LC_ALL": "C.UTF-8",
        }

    def blueprint(
        self, nodes: dict[str, Any], version: str = "1_3", workflows: dict[str, str] | None = None
    ) -> Path:
        """Write a blueprint with *nodes* and *workflows* of the lab, and what it imports."""
        shutil.copy(HERE / "types.yaml", self.directory / "types.yaml")
        content = {
            "tosca_definitions_version": f"cloudify_dsl_{version}",
            "imports": ["types.yaml", str(self.plugin.with_name(self._file(version)))],
            "node_templates": nodes,
            "workflows": workflows or {},
        }
        path = self.directory / "blueprint.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    @staticmethod
    def _file(version: str) -> str:
        return "plugin.yaml" if version == "1_3" else f"plugin_{version}.yaml"

    def init(
        self, nodes: dict[str, Any], version: str = "1_3", workflows: dict[str, str] | None = None
    ) -> None:
        self.cfy("init", str(self.blueprint(nodes, version, workflows)), "-b", "examples")

    def cfy(self, *arguments: str, expect: int | None = 0) -> str:
        """Run cfy and return all that it printed."""
        return self._run("cfy", *arguments, expect=expect)

    def start(self, workflow: str, *arguments: str, expect: int | None = 0) -> str:
        return self._run(*_starting(workflow, *arguments), expect=expect)

    def interrupt(self, workflow: str, *arguments: str, times: int = 1) -> tuple[int, str]:
        """Start a workflow, press Ctrl-C once something waits, and return status and output."""
        process = subprocess.Popen(
            # tests that were started in the background have inherited that SIGINT is ignored
            ["env", "--default-signal=INT", *_starting(workflow, *arguments)],
            env=self.env(),
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while process.poll() is None and not (self.directory / "waiting").exists():
            time.sleep(0.02)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        (self.directory / "interrupted").touch()
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def kill(
        self, workflow: str, *arguments: str, once: Callable[[], bool], after_s: float = 0.0
    ) -> list[str]:
        """Start a workflow, kill cfy outright *after_s* after *once* is true; return what was at rest then.

        Nothing is, when cfy was over before.
        """
        with (self.directory / "killed.txt").open("w") as output:
            process = subprocess.Popen(
                _starting(workflow, *arguments),
                env=self.env(),
                cwd=self.directory,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            while process.poll() is None and not once():
                time.sleep(0.005)
            time.sleep(after_s)
            process.send_signal(signal.SIGSTOP)  # so that what is looked at stays as it is
            rest = self.at_rest()
            process.kill()
            process.wait()
        return rest

    def quiesce(self, *arguments: str, expect: int | None = 0) -> str:
        """Run quiesce's own command line on the same state, and return all that it printed."""
        return self._run("quiesce", *arguments, expect=expect)

    def python(self, code: str) -> str:
        """Run *code* with the environment's Python and return what it printed."""
        return self._run(str(self.place / "bin" / "python"), "-c", code)

    def _run(self, *command: str, expect: int | None = 0) -> str:
        done = subprocess.run(
            command,
            env=self.env(),
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        assert expect is None or done.returncode == expect, done.stdout
        return done.stdout

    def frozen(self) -> list[str]:
        """Return what is frozen now."""
        return sorted(path.name.removeprefix("frozen-") for path in self.directory.glob("frozen-*"))

    def stopped(self) -> list[str]:
        """Return what is stopped now."""
        return sorted(path.name.removeprefix("stopped-") for path in self.directory.glob("stopped-*"))

    def at_rest(self) -> list[str]:
        """Return what is frozen or stopped now; it may be a moment within a guard's work."""
        return [*self.frozen(), *self.stopped()]

    def processes(self) -> list[Path]:
        """Return what runs for this lab: cfy, guards, and scripts."""
        return [path for path in Path("/proc").glob("[0-9]*") if self._is_ours(path)]

    def guards(self) -> list[int]:
        """Return the processes that are guards."""
        told = {int(path.name): _content(path / "cmdline") for path in self.processes()}
        return [process for process, command in told.items() if b"quiesce.cloudify.guard" in command]

    def _is_ours(self, process: Path) -> bool:
        return f"LAB_DIR={self.directory}".encode() in _content(process / "environ").split(b"\0")

    def made(self) -> list[str]:
        """Return what snapshots there are."""
        return sorted(path.name.removeprefix("made-") for path in self.directory.glob("made-*"))

    def log(self) -> list[str]:
        """Return the operations in the order in which they began: ``vm_ab12cd fs_prepare``."""
        path = self.directory / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [f"{line.split()[0]} {line.rpartition('.')[2]}" for line in lines]
