"""The versions of the DSL, and since when it has what."""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self

KEY: Final = "tosca_definitions_version"
_NAME = re.compile(r"cloudify_dsl_(\d+)_(\d+)")


class DslVersion(NamedTuple):
    """A version of the DSL; versions compare."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"cloudify_dsl_{self.major}_{self.minor}"

    @classmethod
    def of(cls, name: object) -> Self | None:
        """Return the version that *name* means, or None when it is none that we read."""
        found = _NAME.fullmatch(name) if isinstance(name, str) else None
        version = cls(int(found[1]), int(found[2])) if found else None
        return version if version in VERSIONS else None


V1_0: Final = DslVersion(1, 0)
V1_1: Final = DslVersion(1, 1)
V1_2: Final = DslVersion(1, 2)
V1_3: Final = DslVersion(1, 3)
V1_4: Final = DslVersion(1, 4)
V1_5: Final = DslVersion(1, 5)

VERSIONS: Final = (V1_0, V1_1, V1_2, V1_3, V1_4, V1_5)
