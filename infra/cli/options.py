"""What commands share: options, settings, output, and one way to run asynchronous work."""

import asyncio
import contextlib
import logging
import re
import sys
import tempfile
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from schemas.codec import Codec
    from streams.settings import Settings

T = TypeVar("T")
# All that a terminal may take for an order; a tab and the end of a line are none.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The configuration; TURNOUT_CONFIG or ./turnout.yaml by default."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def settings_of(config: Path | None) -> "Settings":
    """The settings of a command. Raises ConfigurationError."""
    from streams.loading import load_settings, settings_file

    return load_settings(settings_file(config))


async def codec_of(settings: "Settings") -> "Codec":
    """The codec that the settings name; asks the schema registry where there is one."""
    from schemas.codec import Codec

    kafka = settings.kafka
    if kafka.schema_registry_url is None:
        return Codec(kafka.event_format)
    from streams.registry import register_schemas

    return Codec(kafka.event_format, await register_schemas(kafka.schema_registry_url, kafka.topic_prefix))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end. Raises OperationError in place of a failed connection to Kafka."""
    from aiokafka.errors import KafkaConnectionError, KafkaError

    from schemas.errors import OperationError

    try:
        return asyncio.run(work)
    except KafkaConnectionError:
        raise OperationError(
            "No Kafka broker answers; start one (`turnout up`) or correct kafka.bootstrap_servers and kafka.security."
        ) from None
    except KafkaError as error:
        raise OperationError(f"Kafka refused the operation ({type(error).__name__}); see the broker's log.") from None


def quiet_logs() -> None:
    """Warnings and errors only, on stderr: stdout is for results."""
    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        # Asked at each use: stderr may be another one by then.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    # aiokafka's own words repeat what our sentence says.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # asyncio names tasks and transports, not what to do.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def print_json(document: Any, *, indent: bool = False) -> None:
    """One JSON document on stdout; a line of its own unless indented."""
    import orjson

    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    text = orjson.dumps(document, option=option, default=_shown).decode()
    # Those that JSON leaves as they are.
    typer.echo(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def _shown(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(type(value).__name__)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout. Nothing is cut off: a file or a pipe gets as wide a line as it needs."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    width = None if sys.stdout.isatty() else 10_000
    Console(file=sys.stdout, width=width, highlight=False).print(table)


def print_text(text: str) -> None:
    """Text on stdout, of which others may have written parts: their control characters are shown and not obeyed."""
    typer.echo(_shown_controls(text))


def _shown_controls(text: str) -> str:
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _cell(value: Any) -> str:
    if isinstance(value, float) and 0 < abs(value) < 1e-4:
        # A limit of 0.00001 dollars is not easily read as 1e-05.
        return f"{value:.9f}".rstrip("0") if abs(value) >= 1e-9 else str(value)
    return "" if value is None else _shown_controls(str(value))


def say(message: str) -> None:
    """A message for people, on stderr."""
    typer.echo(_shown_controls(message), err=True)


@contextlib.contextmanager
def work_folder(prefix: str, keep: Path | None) -> Iterator[Path]:
    """A temporary folder, or the user's own. Raises ConfigurationError when that holds something."""
    from schemas.errors import ConfigurationError

    if keep is None:
        with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as made:
            yield Path(made)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise ConfigurationError(f"{keep} is not an empty folder; name a new one with --keep")
    yield keep.absolute()
