"""Whole-deployment suspend, resume, backup and restore, with nothing left frozen."""

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

__version__ = "0.1.0"


class _Operations:
    """Finds ``quiesce.<provider>``, which Cloudify imports for ``quiesce.host.freeze`` (docs/decisions/0005).

    Asked last, so only for what is no file of the package.
    """

    @staticmethod
    def find_spec(
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG004  the import system's own signature
        target: ModuleType | None = None,  # noqa: ARG004
    ) -> ModuleSpec | None:
        package, _, rest = name.partition(".")
        if package != __name__ or not rest or "." in rest:
            return None
        found: ModuleSpec | None = importlib.import_module("quiesce.cloudify.operations").spec_of(name)
        return found


sys.meta_path.append(_Operations)
