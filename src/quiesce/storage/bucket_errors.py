"""What an object store's answers mean for a storage: by status and code, as obstore repeats them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from quiesce.errors import (
    ObjectExistsError,
    ObjectLockedError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnreachableError,
)

#: of the answer, or of its part for one object of several
_STATUS: Final = re.compile(r"(?:status code: |\(code: )(\d{3})")
_NO_BUCKET: Final = re.compile(r"specified (container|bucket) does not exist", re.IGNORECASE)
_BEHIND_THE_END: Final = re.compile(r"Wanted range starting at \d+, but object was only")
#: what is said where there was no answer, or not a whole one
_NO_ANSWER: Final = re.compile(
    r"HTTP error|error sending|error decoding|body error|timed? ?out|connection", re.I
)
_IMMUTABLE: Final = re.compile(r"immutable|retention|under active hold", re.IGNORECASE)
_CODE: Final = re.compile(r"<Code>(\w+)</Code>|\"(?:code|reason)\": ?\"(\w+)\"|\bcode: \"?([A-Za-z]\w+)")
_MESSAGE: Final = re.compile(r"<Message>([^<\n]{1,300})")
_QUERY: Final = re.compile(r"\?[^\s\"']*")
#: what is not repeated to people: obstore adds its own structures after this
_DETAILS: Final = "\n\nDebug source:"

_CODES: Final[dict[str, type[StorageError]]] = {
    **dict.fromkeys(("NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"), UnreachableError),
    **dict.fromkeys(("NoSuchKey", "BlobNotFound"), ObjectNotFoundError),
    **dict.fromkeys(
        (
            "BlobImmutableDueToPolicy",
            "BlobImmutableDueToLegalHold",
            "RetentionPolicyNotMet",
            "ObjectUnderActiveHold",
        ),
        ObjectLockedError,
    ),
    **dict.fromkeys(
        ("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "AccountLimitExceeded"),
        StorageFullError,
    ),
    # somebody else does something to the same object just now
    **dict.fromkeys(
        ("ConditionalRequestConflict", "OperationAborted", "SlowDown", "RequestTimeout", "ServerBusy"),
        StorageUnavailableError,
    ),
    **dict.fromkeys(("PreconditionFailed", "BlobAlreadyExists", "ConditionNotMet"), ObjectExistsError),
    **dict.fromkeys(
        ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "AccessDenied"), StorageDeniedError
    ),
}
_STATUSES: Final[dict[int, type[StorageError]]] = {
    **dict.fromkeys((401, 403), StorageDeniedError),
    404: ObjectNotFoundError,
    **dict.fromkeys((304, 409, 412), ObjectExistsError),
    **dict.fromkeys((408, 425, 429, 500, 502, 503, 504), StorageUnavailableError),
    507: StorageFullError,
}
_HINTS: Final[dict[type[StorageError], str]] = {
    UnreachableError: "Make the bucket, or correct its name; what is in it is not counted as damaged."
}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int | None
    code: str
    text: str

    @classmethod
    def of(cls, error: Exception) -> _Answer:
        text = str(error)
        status, code = _STATUS.search(text), _CODE.search(text)
        return cls(int(status[1]) if status else None, _first_of(code), text)


def meaning_of(error: Exception, what: str) -> StorageError:
    """Return the storage error that obstore's *error* means; *what* failed goes before it."""
    answer = _Answer.of(error)
    kind = _kind_of(answer)
    return kind(f"{what}: {_shown(answer)}", hint=_HINTS.get(kind))


def says_range_not_satisfiable(text: str) -> bool:
    """Tell whether the answer was that the object ends before the range begins.

    Azure's answers to such a range are whole objects, of which obstore finds that out by itself.
    """
    status = _STATUS.search(text)
    return (status is not None and status[1] == "416") or _BEHIND_THE_END.search(text) is not None


def _kind_of(answer: _Answer) -> type[StorageError]:
    if answer.code in _CODES:
        return _CODES[answer.code]
    if answer.status is None:
        return _kind_without_answer(answer.text)
    return _kind_by_words(answer) or _STATUSES.get(answer.status, StorageError)


def _kind_by_words(answer: _Answer) -> type[StorageError] | None:
    """Return the kind of an answer without a code, by the words that go with its status."""
    if answer.status == 404 and _NO_BUCKET.search(answer.text):
        return UnreachableError
    if answer.status in {403, 409} and _IMMUTABLE.search(answer.text):
        return ObjectLockedError
    return None


def _kind_without_answer(text: str) -> type[StorageError]:
    lower = text.lower()
    if "certificate" in lower or "invalid path" in lower:
        return StorageError
    if "169.254.169.254" in lower or "credential" in lower:
        return StorageDeniedError
    return StorageUnavailableError if _NO_ANSWER.search(text) else StorageError


def _shown(answer: _Answer) -> str:
    """Return one line without the signed part of a URL."""
    message = _MESSAGE.search(answer.text)
    if answer.status is not None and (answer.code or message):
        return f"{answer.code or 'error'} ({answer.status})" + (f": {message[1]}" if message else "")
    return _QUERY.sub("?...", answer.text.partition(_DETAILS)[0].partition("\n")[0])


def _first_of(match: re.Match[str] | None) -> str:
    return next((group for group in match.groups() if group), "") if match else ""
