"""`turnout dead-letters`: what could not be read, and its bytes while the request topic keeps them."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.options import AsJson, Config, print_json, print_table, print_text, run, settings_of

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

    from schemas.ids import Source
    from streams.settings import Settings

app = typer.Typer(
    help="Requests that could not be read.\n\n\b\nExample:\n  turnout dead-letters list",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip
FETCH_S = 15.0


@app.command("list")
def list_letters(config: Config = None, as_json: AsJson = False) -> None:
    """List the dead letters, oldest first.

    \b
    Example:
      turnout dead-letters list
    """
    letters = run(_letters(settings_of(config)))
    if as_json:
        for letter in letters:
            print_json(letter)
        return
    columns = ("source", "at", "reason", "length", "request_id")
    print_table(columns, [[letter[column] for column in columns] for letter in letters])


@app.command("show")
def show(
    source: Annotated[str, typer.Argument(help="topic-partition-offset, as the list shows it.")],
    raw: Annotated[bool, typer.Option("--raw", help="Write the bytes alone to stdout.")] = False,
    config: Config = None,
) -> None:
    """Show why a request could not be read, and its bytes while the request topic keeps them.

    \b
    Example:
      turnout dead-letters show llm.requests-3-1207
    """
    from schemas.errors import ConfigurationError
    from schemas.ids import Source

    try:
        place = Source.parse(source)
    except ValueError:
        raise ConfigurationError(
            f"{source} is no source; write topic-partition-offset as `turnout dead-letters list` shows it"
        ) from None
    letter, value = run(_show(settings_of(config), place))
    if raw:
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
        return
    for name in ("source", "at", "reason", "length", "hash", "request_id"):
        print_text(f"{name}: {letter[name]}")
    text = readable(value)
    print_text(f"bytes (hex): {value.hex()}" if text is None else f"bytes:\n{text}")


def readable(value: bytes) -> str | None:
    """The bytes as text, None where they are none or would steer a terminal."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if all(letter.isprintable() or letter in "\r\n\t" for letter in text) else None


async def _letters(settings: "Settings") -> list[dict[str, Any]]:
    from streams.reader import group_less

    async with group_less(settings.kafka.access) as consumer:
        return await _read_letters(consumer, settings)


async def _read_letters(consumer: "AIOKafkaConsumer", settings: "Settings") -> list[dict[str, Any]]:
    """Oldest first; a record that is no dead letter is left out."""
    import orjson

    from schemas.units import iso
    from streams.reader import partitions_of, read_to_end

    found = []
    partitions = await partitions_of(consumer, f"{settings.kafka.topic_prefix}dead-letters")
    async for record in read_to_end(consumer, partitions):
        try:
            document = orjson.loads(record.value)
            place = document["source"]
            found.append((record.timestamp, {
                "source": f"{place['topic']}-{place['partition']}-{place['offset']}",
                "at": iso(record.timestamp * 1000),
                "reason": document["reason"], "length": document["length"], "hash": document["hash"],
                "request_id": document.get("request_id", ""),
            }))  # fmt: skip
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
    return [letter for _, letter in sorted(found, key=lambda item: item[0])]


async def _show(settings: "Settings", source: "Source") -> tuple[dict[str, Any], bytes]:
    import asyncio

    from aiokafka import TopicPartition

    from schemas.errors import OperationError
    from streams.reader import group_less, partitions_of

    async with group_less(settings.kafka.access) as consumer:
        letters = {letter["source"]: letter for letter in await _read_letters(consumer, settings)}
        letter = letters.get(str(source))
        if letter is None:
            raise OperationError(f"No dead letter names {source}; `turnout dead-letters list` shows those there are.")
        partition = TopicPartition(source.topic, source.partition)
        gone = OperationError(f"{source.topic} does not keep the bytes of {source} any more: {letter['reason']}.")
        if partition not in await partitions_of(consumer, source.topic):
            raise gone
        consumer.assign([partition])
        if not await _begin(consumer, partition) <= source.offset < await _end(consumer, partition):
            raise gone
        consumer.seek(partition, source.offset)
        try:
            async with asyncio.timeout(FETCH_S):
                record = await consumer.getone(partition)
        except TimeoutError:
            raise gone from None
        if record.offset != source.offset:
            raise gone
        return letter, record.value or b""


async def _begin(consumer: "AIOKafkaConsumer", partition: Any) -> int:
    return int((await consumer.beginning_offsets([partition]))[partition])


async def _end(consumer: "AIOKafkaConsumer", partition: Any) -> int:
    return int((await consumer.end_offsets([partition]))[partition])
