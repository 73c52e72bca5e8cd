"""The option of a node that names its own repository."""

from __future__ import annotations

from quiesce.errors import UsageError
from quiesce.model.ids import Json
from quiesce.model.words import WrongValueError, read_absolute_path, read_text


def read_repository(value: Json) -> str:
    """Return the absolute path of a directory, or the URL of another storage, without a secret."""
    text = read_text(value)
    if ":/" not in text:
        return read_absolute_path(value)
    from quiesce.storage.urls import parse_url  # few nodes name a URL

    try:
        return str(parse_url(text))
    except UsageError as error:
        raise WrongValueError(value, f"a path or URL of a repository: {error}") from None
