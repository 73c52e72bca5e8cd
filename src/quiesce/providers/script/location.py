"""Finds the script that an operation names."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from quiesce.errors import NonRecoverableError
from quiesce.files.trust import require_trusted
from quiesce.model.call import Call


def find_script(call: Call, directory: Path) -> Path:
    """Return the operation's script; one given as source is written into *directory* first.

    Raises:
        NonRecoverableError: when there is none, or it is not below the blueprint's directory.
        UntrustedPathError: when somebody else could have changed it.
    """
    path, source = call.inputs.get("script_path"), call.inputs.get("script_source")
    if bool(path) == bool(source):
        raise NonRecoverableError("a script operation needs either the input script_path or script_source")
    return _below(str(path), call.blueprint_dir) if path else _written(str(source), directory)


def _below(path: str, blueprint_dir: str) -> Path:
    if path.startswith(("http://", "https://")):
        raise NonRecoverableError(
            f"the script {path} was not fetched: quiesce runs no code from the network",
            hint="Save it next to the blueprint and name that file in script_path.",
        )
    root = Path(blueprint_dir).resolve()
    script = (root / path.removeprefix("file://")).resolve()
    if not script.is_relative_to(root):
        raise NonRecoverableError(f"the script {path} is not below the blueprint's directory {root}")
    if not script.is_file():
        raise NonRecoverableError(f"there is no script {path} in the blueprint's directory {root}")
    require_trusted(script)
    return script


def _written(source: str, directory: Path) -> Path:
    text = textwrap.dedent(source)
    script = directory / ("script.py" if _is_python(text) else "script.sh")
    script.write_text(text)
    script.chmod(0o700)
    return script


def _is_python(text: str) -> bool:
    if text.startswith("#!"):
        return "python" in text.splitlines()[0]
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
