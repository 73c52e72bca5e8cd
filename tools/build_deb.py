"""Build a Debian package of a wheel: quiesce and all it needs below /usr/lib/quiesce, by Debian's own Python.

    python tools/build_deb.py dist/quiesce-0.1.0-py3-none-any.whl --output dist

What the package brings beside: /usr/bin/quiesce, manual pages, completions, and a timer that is off until it
is enabled (systemctl enable --now quiesce-run-due.timer). Needs dpkg-deb, and pip with an index or a folder
of wheels (PIP_FIND_LINKS). State below /var or a home is never touched, by removal neither.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

PYTHON = Path("/usr/bin/python3")
LIBRARY = Path("usr/lib/quiesce")
SHARED = {
    "man": Path("usr/share/man"),
    "bash-completion": Path("usr/share/bash-completion"),
    "zsh": Path("usr/share/zsh"),
    "fish": Path("usr/share/fish"),
}
LAUNCHER = """#!/bin/sh
exec /usr/lib/quiesce/bin/python3 -P -m quiesce.cli.main "$@"
"""


def main() -> int:
    """Build the package and print its path."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--output", type=Path, default=Path())
    parser.add_argument("--extras", default="", help="such as ssh,serve: what else it is to bring")
    parser.add_argument("--constraint", type=Path, help="versions of what it needs, as pip takes them")
    given = parser.parse_args()
    version = python_version()
    if version != sys.version_info[:2]:
        raise SystemExit(f"run this by Python {version[0]}.{version[1]}, which {PYTHON} is: it must fit")
    metadata = metadata_of(given.wheel)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "root"
        root.mkdir(mode=0o755)
        install(given.wheel, root, given.constraint, given.extras)
        write_control(root, metadata, version)
        given.output.mkdir(parents=True, exist_ok=True)
        package = given.output / f"quiesce_{metadata['Version']}_{architecture()}.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "--build", root, package], check=True, stdout=sys.stderr
        )
    print(package)
    return 0


def python_version() -> tuple[int, ...]:
    """Return which Python the package will be run by."""
    told = subprocess.run([PYTHON, "--version"], check=True, capture_output=True, text=True).stdout
    return tuple(map(int, re.findall(r"\d+", told)[:2]))


def architecture() -> str:
    """Return Debian's name of this machine's architecture."""
    asked = ["dpkg", "--print-architecture"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def metadata_of(wheel: Path) -> Message:
    """Return what a wheel says of itself."""
    with zipfile.ZipFile(wheel) as content:
        (name,) = (name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(content.read(name))


def install(wheel: Path, root: Path, constraint: Path | None, extras: str) -> None:
    """Put the wheel, all that it needs, the command, manual pages, completions and units below *root*."""
    version = ".".join(map(str, sys.version_info[:2]))
    library = root / LIBRARY
    packages = library / "lib" / f"python{version}" / "site-packages"
    packages.mkdir(parents=True)
    wanted = f"{wheel}[{extras}]" if extras else str(wheel)
    constraints = ["--constraint", str(constraint)] if constraint is not None else []
    subprocess.run(
        [*pip(), "install", "--quiet", "--no-compile", "--target", packages, *constraints, wanted], check=True
    )
    shutil.rmtree(packages / "bin", ignore_errors=True)
    share = packages / "share"
    for name, where in SHARED.items():
        shutil.copytree(share / name, root / where)
    shutil.rmtree(share)
    for page in (root / SHARED["man"]).rglob("*.1"):
        page.with_name(f"{page.name}.gz").write_bytes(gzip.compress(page.read_bytes(), 9, mtime=0))
        page.unlink()
    # an environment as `venv` makes one: what quiesce starts of itself finds all of this, and nothing else
    (library / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n"
    )
    (library / "bin").mkdir()
    (library / "bin" / "python3").symlink_to(f"/usr/bin/python{version}")
    write(root / "usr/bin/quiesce", LAUNCHER, 0o755)
    write_units(root)
    copy_licences(packages, root / "usr/share/doc/quiesce")
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def pip() -> list[str]:
    """Return the command that is this environment's pip."""
    return [sys.executable, "-m", "pip"]


def write_units(root: Path) -> None:
    """Write the units as `quiesce schedule install` would."""
    packages = next((root / LIBRARY).glob("lib/*/site-packages"))
    code = (
        "from quiesce.reports.timers import systemd_service, systemd_timer\n"
        "import sys\n"
        "print(systemd_service('/usr/bin/quiesce', {}), systemd_timer(5), sep='\\0', end='')\n"
    )
    told = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    service, timer = told.split("\0")
    units = root / "usr/lib/systemd/system"
    write(units / "quiesce-run-due.service", service)
    write(units / "quiesce-run-due.timer", timer)


def copy_licences(packages: Path, documentation: Path) -> None:
    """Put the licences of quiesce and of all that comes with it where Debian looks for them."""
    parts = []
    for found in sorted(packages.glob("*.dist-info")):
        name = found.name.removesuffix(".dist-info")
        texts = [
            path
            for path in sorted(found.rglob("*"))
            if re.match(r"(?i)(licen[cs]e|copying|notice)", path.name)
        ]
        parts += [
            f"{name}: {path.name}\n\n{path.read_text(errors='replace')}" for path in texts if path.is_file()
        ]
    write(documentation / "copyright", f"\n{'=' * 70}\n\n".join(parts))


def write_control(root: Path, metadata: Message, version: tuple[int, ...]) -> None:
    """Write what dpkg has to know."""
    major, minor = version
    size = sum(path.lstat().st_size for path in root.rglob("*")) // 1024 + 1
    links = dict(value.split(", ", 1) for value in metadata.get_all("Project-URL", []))
    homepage = f"Homepage: {links['Homepage']}\n" if "Homepage" in links else ""
    write(
        root / "DEBIAN/control",
        f"Package: quiesce\nVersion: {metadata['Version']}\nArchitecture: {architecture()}\n"
        "Maintainer: the quiesce maintainers <nobody@localhost>\n"
        f"Installed-Size: {size}\nSection: admin\nPriority: optional\n{homepage}"
        f"Depends: python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1}), libc6\n"
        f"Description: {metadata['Summary']}\n"
        " Services are frozen, then file systems; every node is snapshotted side by side, and everything\n"
        " is thawed in the reverse order, whatever fails.\n",
    )


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file, and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


if __name__ == "__main__":
    sys.exit(main())
