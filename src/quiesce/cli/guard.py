"""The guard process: ``python -m quiesce.cli.guard``, started by `quiesce.guard`.

Its home and its database are in the environment, which no other user can read.
"""

from __future__ import annotations

import os
import sys

from quiesce.app.masking import Masking
from quiesce.bootstrap import Application, Settings
from quiesce.cli.session import without_secrets
from quiesce.guarding import PipeOrders, become_guard, serve


def main() -> None:
    """Be the guard of one execution."""
    become_guard()
    orders = PipeOrders(sys.stdin.fileno())
    masking = Masking()
    with without_secrets(masking):  # its errors go to a file
        application = Application(Settings.of(os.environ), masking=masking)
        try:
            serve(orders, application.services, sys.stdout.fileno())
        finally:
            application.close()


if __name__ == "__main__":
    main()
