"""Which Python runs the functions: one that has cloudify-common and the plugins."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Mapping

from quiesce.errors import PlanError

SETTING = "QUIESCE_CLOUDIFY_PYTHON"


def find_python(environment: Mapping[str, str]) -> str:
    """Return the Python that `SETTING` names, or this one when it has cloudify-common.

    Raises:
        PlanError: when there is none; nothing was touched.
    """
    named = environment.get(SETTING)
    if named:
        found = shutil.which(named)
        if found is None:
            raise PlanError(f"{SETTING} names {named}, which cannot be run")
        return found
    if importlib.util.find_spec("cloudify") is not None:
        return sys.executable
    raise PlanError(
        "the blueprint names Python functions of Cloudify plugins, and cloudify-common is not installed here",
        hint="Install it and the plugins here (pip install 'quiesce[cloudify]'), or into an environment of "
        f"their own, whose python {SETTING} names.",
    )
