"""`turnout explain`: what was decided for a request and why, in words, from the log's own events."""

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.options import AsJson, Config, codec_of, print_json, print_text, run, settings_of

if TYPE_CHECKING:
    from schemas.codec import Codec
    from schemas.events import RequestEvent
    from streams.control import ControlLog
    from streams.settings import Settings

KINDS = ("decisions", "attempts", "costs")


def explain(
    request_id: Annotated[str, typer.Argument(help="The request's id.")],
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Say in words what was decided for a request and why: plan, candidates, attempts, costs, answer.

    \b
    Example:
      turnout explain r-1
    """
    from infra.cli.explanation import explained, words
    from schemas.errors import OperationError

    events, control = run(_gather(settings_of(config), request_id))
    if not events:
        raise OperationError(f"The log holds no event of the request {request_id}; `turnout tail decisions` shows ids.")
    told = explained(events, control)
    if as_json:
        print_json({"request_id": request_id, "runs": told}, indent=True)
        return
    for story in told:
        print_text("\n".join(words(story)))


async def _gather(settings: "Settings", request_id: str) -> tuple[list["RequestEvent"], "ControlLog"]:
    import asyncio

    from infra.cli.reading import read_control
    from schemas.errors import OperationError
    from streams.reader import group_less

    codec = await codec_of(settings)
    try:
        events = await asyncio.to_thread(from_sql, settings, request_id, codec)
    except OperationError:
        events = []
    async with group_less(settings.kafka.access) as consumer:
        control = await read_control(consumer, settings, codec)
    # SQL lags the log a little: what has not ended there is read from the log.
    if not any(type(event).__name__ in ("RequestCompleted", "RequestDeduplicated") for event in events):
        events = await from_log(settings, request_id, codec)
    return events, control


def from_sql(settings: "Settings", request_id: str, codec: "Codec") -> list["RequestEvent"]:
    """The request's events by the SQL door. Raises OperationError."""
    import orjson

    from infra.cli.sql import ask
    from schemas.errors import OperationError, UnknownEvent
    from schemas.events import RequestEvent

    statement = "SELECT event, version, payload FROM events WHERE request_id = {id:String} ORDER BY occurred_at"
    answer = ask(settings, statement, "JSONEachRow", {"id": request_id})
    events = []
    try:
        for line in answer.content.splitlines():
            row = orjson.loads(line)
            tagged = orjson.loads(row["payload"]) | {"event": row["event"], "version": int(row["version"])}
            event = codec.decode(orjson.dumps(tagged))
            if isinstance(event, RequestEvent):
                events.append(event)
    except (KeyError, TypeError, ValueError, UnknownEvent):
        raise OperationError("The events of the SQL door are not of this version.") from None
    return events


async def from_log(settings: "Settings", request_id: str, codec: "Codec") -> list["RequestEvent"]:
    """The request's events by reading decisions, attempts and costs whole."""
    import orjson

    from schemas.errors import UnreadableRecord
    from schemas.events import RequestEvent
    from streams.reader import group_less, partitions_of, read_to_end

    # The id's bytes stand in the record as they are, or escaped in JSON: only such records are decoded.
    marks = (request_id.encode(), orjson.dumps(request_id)[1:-1])
    found = []
    for kind in KINDS:
        async with group_less(settings.kafka.access) as consumer:
            partitions = await partitions_of(consumer, f"{settings.kafka.topic_prefix}{kind}")
            async for record in read_to_end(consumer, partitions):
                if record.value is None or not any(mark in record.value for mark in marks):
                    continue
                with contextlib.suppress(UnreadableRecord):
                    event = codec.decode(record.value)
                    if isinstance(event, RequestEvent) and event.request_id == request_id:
                        found.append(event)
    return sorted(found, key=lambda event: event.occurred_at)
