"""A standard logger whose lines go to quiesce."""

from __future__ import annotations

import logging

from quiesce_link import QuiesceLink


class LinkHandler(logging.Handler):
    """Sends each record as a line of the execution's log."""

    def __init__(self, link: QuiesceLink) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, its traceback included."""
        try:
            self._link.ask("log", level=record.levelname.lower(), message=self.format(record))
        except Exception:  # noqa: BLE001  as every handler does: logging never breaks the script
            self.handleError(record)


def logger_for(link: QuiesceLink) -> logging.Logger:
    """Return the logger of the operation that *link* belongs to."""
    logger = logging.getLogger("ctx")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.handlers = [LinkHandler(link)]
    return logger
