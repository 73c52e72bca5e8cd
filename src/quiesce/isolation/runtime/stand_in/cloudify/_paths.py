"""Dotted paths into nested properties: ``network.addresses[0].ip``."""

from __future__ import annotations


def read_path(mapping: object, path: str) -> object:
    """Return what *path* leads to."""
    current = mapping
    for part in _parts(path):
        try:
            current = current[part]  # type: ignore[index]
        except (LookupError, TypeError):
            raise LookupError(f"illegal path: {path}") from None
    return current


def write_path(mapping: dict[str, object], path: str, value: object) -> None:
    """Set what *path* leads to, making the mappings on the way."""
    *way, last = _parts(path)
    current: object = mapping
    for part in way:
        if isinstance(current, dict):
            current = current.setdefault(str(part), {})
        else:
            current = read_path(current, f"[{part}]")
    try:
        current[last] = value  # type: ignore[index]
    except (LookupError, TypeError):
        raise LookupError(f"illegal path: {path}") from None


def _parts(path: str) -> list[str | int]:
    parts: list[str | int] = []
    for segment in path.split("."):
        name, *indexes = segment.split("[")
        if name:
            parts.append(name)
        for index in indexes:
            digits = index.removesuffix("]")
            if not (index.endswith("]") and digits.isdigit()):
                raise LookupError(f"illegal path: {path}")
            parts.append(int(digits))
    if not parts:
        raise LookupError(f"illegal path: {path}")
    return parts
