"""The command line: parse, run a use case, print, exit. Nothing here decides anything."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import Final

import click

from quiesce import __version__
from quiesce.cli.printing import say
from quiesce.errors import ExitStatus, QuiesceError, UsageError
from quiesce.reports.escaping import printable_lines

#: command -> module that defines it; imported only when it is used, so that starting is quick
COMMANDS: Final = {
    "init": "deployments",
    "deployments": "deployments",
    "blueprint": "blueprint",
    "plan": "workflows",
    "executions": "executions",
    "events": "executions",
    "report": "executions",
    "recover": "executions",
    "backups": "backups",
    "policy": "policies",
    "run-due": "policies",
    "schedule": "schedule",
    "metrics": "policies",
    "repository": "repositories",
    "keys": "keys",
    "serve": "service",
    "users": "service",
    "worker": "cluster",
    "workers": "cluster",
    "doctor": "platforms",
    "discover": "platforms",
    "providers": "platforms",
    "completion": "completion",
}
#: the command after which those of the workflows are listed
_BEFORE_WORKFLOWS: Final = "plan"
#: how long a thread may keep the interpreter, in seconds: a commit waits for it within the frozen window
SWITCH_S: Final = 0.0005
#: after how many new objects garbage is looked for: a large plan and its history are none
_GARBAGE: Final = (20_000, 50, 50)


class Commands(click.Group):
    """Finds commands by `COMMANDS`, and one for each workflow."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order in which a newcomer needs them."""
        del ctx
        from quiesce.planning import WORKFLOWS

        names = list(COMMANDS)
        after = names.index(_BEFORE_WORKFLOWS) + 1
        return [
            *names[:after],
            *(row.command for row in WORKFLOWS.values() if row.option_of is None),
            *names[after:],
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command *cmd_name*."""
        del ctx
        module = importlib.import_module(f"quiesce.cli.commands.{COMMANDS.get(cmd_name, 'workflows')}")
        if cmd_name not in COMMANDS:
            found: click.Command | None = module.workflow_command(cmd_name)
            return found
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that *args* begin with; what is unknown is answered with what is alike."""
        if self.get_command(ctx, args[0]) is None:
            import difflib

            alike = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            meant = f" Did you mean {alike[0]!r}?" if alike else ""
            ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="quiesce")
def quiesce() -> None:
    """Suspend, resume, back up and restore whole deployments; nothing ever stays frozen.

    \b
    Example:
      quiesce init blueprint.yaml -b shop      describe a deployment
      quiesce plan backup shop                 see what would happen
      quiesce backup shop                      one consistent cut through all of it
      quiesce backups list shop
      quiesce restore shop -p snapshot_name=NAME

    State is kept below QUIESCE_HOME (default: ~/.local/share/quiesce).
    """


def main() -> None:
    """Run the command line and exit with a documented status (``docs/exit-statuses.md``)."""
    os.umask(0o077)
    tune_interpreter()
    sys.exit(run(sys.argv[1:]))


def tune_interpreter() -> None:
    """Set the interpreter up for many threads and many lasting objects."""
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(*_GARBAGE)


def run(arguments: list[str]) -> int:
    """Run one command; return its exit status. Anything that is no `QuiesceError` is a bug, and escapes."""
    try:
        status = quiesce.main(args=arguments, prog_name="quiesce", standalone_mode=False)
    except (click.ClickException, click.exceptions.Exit, click.Abort) as finished:
        return _finished(finished, as_json="--json" in arguments)
    except QuiesceError as error:
        _show(error, as_json="--json" in arguments)
        return error.exit_status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.OK
    return status if isinstance(status, int) else ExitStatus.OK


def _finished(how: click.ClickException | click.exceptions.Exit | click.Abort, *, as_json: bool) -> int:
    if isinstance(how, click.exceptions.Exit):
        return how.exit_code
    if isinstance(how, click.ClickException):
        if as_json:
            from quiesce.reports.json import render_error

            say(render_error(UsageError(how.format_message())))
        where = (
            f"{how.ctx.get_usage()}\n" if isinstance(how, click.UsageError) and how.ctx is not None else ""
        )
        say(f"{where}Error: {how.format_message()}", err=True)
        return ExitStatus.USAGE
    return ExitStatus.CANCELLED


def _show(error: QuiesceError, *, as_json: bool) -> None:
    if as_json:
        from quiesce.reports.json import render_error

        say(render_error(error))
    say(f"quiesce: {printable_lines(str(error))} [{error.code}]", err=True)
    if error.hint:
        say(f"  hint: {printable_lines(error.hint)}", err=True)


if __name__ == "__main__":
    main()
