"""`turnout`: the table of commands, and what their errors become.

Exit status: 0 success, 1 a failed operation, 2 a usage or configuration error, 130 after Ctrl-C. Results go to stdout,
messages to stderr.
"""

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer import _click

from infra.cli import catalog, dead_letters, report, set_, simulate, topics
from infra.cli.apply import apply
from infra.cli.chaos import chaos
from infra.cli.check import check
from infra.cli.decide import decide
from infra.cli.demo import demo
from infra.cli.explain import explain
from infra.cli.feedback import feedback
from infra.cli.options import quiet_logs, say
from infra.cli.redecide import redecide
from infra.cli.replay import replay
from infra.cli.send import send
from infra.cli.sink import sink
from infra.cli.sql import sql
from infra.cli.state import state
from infra.cli.status import status
from infra.cli.tail import tail
from infra.cli.up import up
from infra.cli.worker import worker
from schemas.errors import ConfigurationError, TurnoutError

COMMANDS: dict[str, Callable[..., Any]] = {
    "up": up,
    "demo": demo,
    "worker": worker,
    "sink": sink,
    "check": check,
    "apply": apply,
    "send": send,
    "feedback": feedback,
    "tail": tail,
    "sql": sql,
    "explain": explain,
    "decide": decide,
    "status": status,
    "replay": replay,
    "redecide": redecide,
    "state": state,
    "chaos": chaos,
}
GROUPS: dict[str, typer.Typer] = {
    "topics": topics.app,
    "catalog": catalog.app,
    "set": set_.app,
    "report": report.app,
    "dead-letters": dead_letters.app,
    "simulate": simulate.app,
}

app = typer.Typer(
    name="turnout",
    help="Turnout routes LLM requests through Kafka.\n\n\b\nExample:\n  turnout up --simulate",
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip
for name, command in COMMANDS.items():
    app.command(name)(command)
for name, group in GROUPS.items():
    app.add_typer(group, name=name)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit status."""
    quiet_logs()
    try:
        status_code = app(args=list(arguments), prog_name="turnout", standalone_mode=False)
        sys.stdout.flush()
    except _click.exceptions.NoArgsIsHelpError as asked:
        say(asked.format_message())
        return 2
    except _click.exceptions.UsageError as error:
        place = error.ctx.command_path if error.ctx is not None else "turnout"
        said = error.format_message().replace("Value error, ", "").rstrip(".")
        say(f"turnout: {said}; see `{place} --help`.")
        return 2
    except _click.exceptions.ClickException as error:
        say(f"turnout: {error.format_message()}")
        return error.exit_code
    except ConfigurationError as error:
        for problem in error.problems:
            say(problem)
        return 2
    except TurnoutError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has enough; the interpreter must not flush into the pipe once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status_code if isinstance(status_code, int) else 0


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What a terminal of another encoding cannot show stands there as a question mark.
            stream.reconfigure(errors="replace")
    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
