"""Names and labels of what quiesce makes: legal, unique, and telling whose they are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quiesce.model.call import Call

#: the longest name and the longest label value that Compute Engine takes
LONGEST: Final = 63
MADE_BY: Final = "quiesce"
POINT: Final = "quiesce-point"
OWNER: Final = "quiesce-owner"
EXECUTION: Final = "quiesce-execution"
DEVICE: Final = "quiesce-device"
_DIGITS: Final = 10


def unique_name(*parts: str) -> str:
    """Return a legal name that reads as *parts* and differs when any of them does."""
    digest = short_hash(*parts)
    text = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    if not text[:1].isalpha():
        text = f"q-{text}"
    return f"{text[: LONGEST - _DIGITS - 1].rstrip('-')}-{digest}"


def short_hash(*parts: str) -> str:
    """Return a short hash that tells ``("a-b", "c")`` from ``("a", "b-c")``."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]


def label_value(text: str) -> str:
    """Return *text* as a label's value; one that had to be changed or cut gets a hash of its own."""
    legal = re.sub(r"[^a-z0-9_-]", "-", text.lower())
    return legal if legal == text and len(text) <= LONGEST else f"{legal[:50]}-{short_hash(text)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Whose an object is: labels that quiesce puts on all that it makes."""

    #: of the restore point, for listing everything of it with one request
    point: str
    #: of the instance in its deployment
    owner: str
    execution: str

    @staticmethod
    def of(call: Call) -> Mark:
        """Return the mark of what *call* makes."""
        return Mark(
            point=short_hash(call.deployment, str(call.point)),
            owner=short_hash(call.deployment, call.instance, str(call.point)),
            execution=label_value(call.execution),
        )

    def labels(self, role: str, device: str = "") -> dict[str, str]:
        """Return the labels to make an object with."""
        labels = {MADE_BY: role, POINT: self.point, OWNER: self.owner, EXECUTION: self.execution}
        return labels | ({DEVICE: label_value(device)} if device else {})

    def owns(self, labels: Mapping[str, str]) -> bool:
        """Tell whether quiesce made the object with *labels* for this instance and restore point."""
        return MADE_BY in labels and labels.get(OWNER) == self.owner

    def made(self, labels: Mapping[str, str]) -> bool:
        """Tell whether this very execution made it."""
        return self.owns(labels) and labels.get(EXECUTION) == self.execution
