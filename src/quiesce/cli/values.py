"""Values from the command line: ``name=value`` and files of inputs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from quiesce.app.values import read_value
from quiesce.blueprint.reading.yaml_text import MAX_BYTES, parse_yaml
from quiesce.errors import BlueprintError, UsageError
from quiesce.files.reading import read_named
from quiesce.model.ids import Json

_AGE_UNITS_S: Final = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def read_assignments(assignments: Iterable[str]) -> Mapping[str, Json]:
    """Return ``name=value`` texts as a mapping. A value that is JSON means what it says, else it is text.

    Raises:
        UsageError: when a text has no ``=``.
    """
    values: dict[str, Json] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"{assignment!r} is not of the form NAME=VALUE")
        values[name] = read_value(text)
    return values


def read_inputs(texts: Iterable[str]) -> Mapping[str, Json]:
    """Return inputs given as ``name=value``, or as the path of a YAML or JSON file; later ones win.

    Raises:
        UsageError: when a file cannot be read or does not hold a mapping.
    """
    inputs: dict[str, Json] = {}
    for text in texts:
        if "=" in text and not Path(text).is_file():
            inputs.update(read_assignments([text]))
        else:
            inputs.update(read_mapping_file(Path(text)))
    return inputs


def read_age(text: str) -> float:
    """Return an age such as ``30d``, in seconds.

    Raises:
        UsageError: when it is none.
    """
    match = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if match is None:
        raise UsageError(f"{text!r} is not an age: say hours, days or weeks, such as 36h, 30d or 8w")
    return int(match[1]) * _AGE_UNITS_S[match[2]]


def read_stored_path(text: str) -> bytes:
    """Return a path as restore points have it: no slash at its ends."""
    return os.fsencode(text).strip(b"/")


def read_input(name: str, *, at_most: int) -> bytes:
    """Return the content of the file *name*; of standard input when it is ``-``.

    Raises:
        UsageError: when it cannot be read, is no regular file, or holds more than *at_most* bytes.
    """
    try:
        if name != "-":
            return read_named(Path(name), at_most=at_most)
        content = sys.stdin.buffer.read(at_most + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > at_most:
        raise UsageError(f"standard input holds more than {at_most} bytes")
    return content


def read_mapping_file(path: Path) -> Mapping[str, Json]:
    """Return the mapping that a YAML or JSON file holds.

    Raises:
        UsageError: when it cannot be read or holds something else.
    """
    try:
        content = parse_yaml(read_input(str(path), at_most=MAX_BYTES), str(path))
    except BlueprintError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f"{path} does not hold a mapping of names")
    return content


def place_of(given: str) -> str:
    """Return the path or URL of a repository, a path from the root on."""
    return given if ":/" in given else str(Path(given).absolute())
