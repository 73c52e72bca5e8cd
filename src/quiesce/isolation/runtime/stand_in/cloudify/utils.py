"""The helpers that scripts use most."""

from __future__ import annotations

import logging
import os
import random
import shlex
import string
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from cloudify.exceptions import CommandExecutionException


def setup_logger(
    logger_name: str,
    logger_level: int = logging.INFO,
    handlers: Sequence[logging.Handler] | None = None,
    remove_existing_handlers: bool = True,
    logger_format: str | None = None,
    propagate: bool = True,
) -> logging.Logger:
    """Return a logger that writes to standard output, or to *handlers*."""
    logger = logging.getLogger(logger_name)
    if remove_existing_handlers:
        logger.handlers = []
    for handler in handlers or [logging.StreamHandler(sys.stdout)]:
        handler.setFormatter(logging.Formatter(logger_format or "%(asctime)s [%(levelname)s] %(message)s"))
        handler.setLevel(logger_level)
        logger.addHandler(handler)
    logger.setLevel(logger_level)
    logger.propagate = propagate
    return logger


def id_generator(size: int = 6, chars: str = string.ascii_uppercase + string.digits) -> str:
    """Return *size* random characters."""
    return "".join(random.choice(chars) for _ in range(size))  # noqa: S311  not a secret


def get_exec_tempdir() -> str:
    """Return the directory for temporary files that are to be run."""
    return os.path.abspath(os.environ.get("CFY_EXEC_TEMP") or tempfile.gettempdir())


def create_temp_folder() -> str:
    """Make a new temporary directory."""
    return tempfile.mkdtemp(dir=get_exec_tempdir())


def exception_to_error_cause(exception: BaseException, tb: TracebackType | None) -> dict[str, str]:
    """Describe *exception* as plain data."""
    lines = traceback.format_exception(type(exception), exception, tb)
    return {"message": str(exception), "traceback": "".join(lines), "type": type(exception).__name__}


@dataclass
class CommandExecutionResponse:
    """What a command gave."""

    command: str | Sequence[str]
    std_out: str | None
    std_err: str | None
    return_code: int


class LocalCommandRunner:
    """Runs commands and waits for them."""

    def __init__(self, logger: logging.Logger | None = None, host: str = "localhost") -> None:
        self.logger = logger or setup_logger("LocalCommandRunner")
        self.host = host

    def run(
        self,
        command: str | Sequence[str],
        exit_on_failure: bool = True,
        stdout_pipe: bool = True,
        stderr_pipe: bool = True,
        cwd: str | None = None,
        execution_env: Mapping[str, str] | None = None,
        encoding: str = "utf-8",
    ) -> CommandExecutionResponse:
        """Run *command*, without a shell.

        Raises:
            CommandExecutionException: when its status is not 0, unless *exit_on_failure* is false.
        """
        arguments = shlex.split(command) if isinstance(command, str) else list(command)
        self.logger.debug("[%s] run: %s", self.host, arguments)
        done = subprocess.run(
            arguments,
            stdout=subprocess.PIPE if stdout_pipe else None,
            stderr=subprocess.PIPE if stderr_pipe else None,
            cwd=cwd,
            env={**os.environ, **(execution_env or {})},
            check=False,
        )
        output, errors = (_text(stream, encoding) for stream in (done.stdout, done.stderr))
        if done.returncode != 0:
            failure = CommandExecutionException(command, errors, output, done.returncode)
            if exit_on_failure:
                raise failure
            self.logger.error(failure)
        return CommandExecutionResponse(command, output, errors, done.returncode)


def _text(stream: bytes | None, encoding: str) -> str | None:
    return None if stream is None else stream.rstrip().decode(encoding, "replace")
