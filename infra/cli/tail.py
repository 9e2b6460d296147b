"""`turnout tail`: the records of any topic as JSON lines."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.options import Config, codec_of, print_json, run, settings_of

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from schemas.codec import Codec
    from streams.settings import Settings

AVRO = b"avro/binary"
JSON_KINDS = ("requests", "responses", "chunks", "dead-letters")


def tail(
    topic: Annotated[str, typer.Argument(help="A full name, or a kind such as attempts or requests.acme.")],
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Start at the first record kept.")] = False,
    request: Annotated[str | None, typer.Option(metavar="ID", help="Only records of this request.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="End after so many records; 0 goes on until Ctrl-C.")] = 0,
    config: Config = None,
) -> None:
    """Print the records of a topic as JSON lines, as they arrive.

    Every line holds what the record says, and `record`: its topic, partition, offset, timestamp, key and headers.

    \b
    Example:
      turnout tail attempts --from-beginning --request r-1
    """
    # Ctrl-C is how a tail ends.
    with contextlib.suppress(KeyboardInterrupt):
        run(_tail(settings_of(config), topic, from_beginning, request, limit))


async def _tail(settings: "Settings", topic: str, from_beginning: bool, request: str | None, limit: int) -> None:
    from schemas.errors import OperationError
    from streams.reader import group_less, partitions_of

    codec, prefix = await codec_of(settings), settings.kafka.topic_prefix
    async with group_less(settings.kafka.access, wait_ms=250) as consumer:
        existing = await consumer.topics()
        name = topic if topic in existing else f"{prefix}{topic}"
        if name not in existing:
            ours = ", ".join(sorted(known.removeprefix(prefix) for known in existing if known.startswith(prefix)))
            hint = f"use one of {ours}" if ours else "run `turnout topics create`"
            raise OperationError(f"Topic {topic} does not exist; {hint}.")
        partitions = await partitions_of(consumer, name)
        consumer.assign(partitions)
        begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, (begins if from_beginning else ends)[partition])
        printed = 0
        while True:
            batch = await consumer.getmany(timeout_ms=500)
            # Across partitions a batch has no order: time is the best there is.
            records = sorted((r for found in batch.values() for r in found), key=lambda r: (r.timestamp, r.offset))
            for record in records:
                if request is not None and request not in requests_of(record, codec):
                    continue
                print_json(document_of_record(record, name.removeprefix(prefix), codec))
                printed += 1
                if printed == limit:
                    return
            await asyncio.sleep(0)


def document_of_record(record: "ConsumerRecord", kind: str, codec: "Codec") -> dict[str, Any]:
    """A record as people read it: what it says, and where it stands. `kind`: the topic without its prefix."""
    from schemas.units import iso

    place = {
        "topic": record.topic, "partition": record.partition, "offset": record.offset,
        "timestamp": iso(record.timestamp * 1000), "key": _text(record.key),
        "headers": {name: _text(value) for name, value in record.headers},
    }  # fmt: skip
    if record.value is None:
        return {"tombstone": True, "record": place}
    document = _said(record, kind, codec)
    if document is None:
        undecodable = {"length": len(record.value), "partition": record.partition, "offset": record.offset}
        return {"undecodable": True, **undecodable, "record": place}
    return {**document, "record": place}


def _said(record: "ConsumerRecord", kind: str, codec: "Codec") -> dict[str, Any] | None:
    import orjson

    from schemas.codec import document_of_event

    family = kind.split(".")[0]
    try:
        if family not in JSON_KINDS:
            return document_of_event(codec.decode(record.value))
        if ("content-type", AVRO) in record.headers:
            return _from_avro(record.value, family, codec)
        document = orjson.loads(record.value)
        return document if isinstance(document, dict) else None
    # Foreign bytes fail in as many ways as a decoder has branches; a tail shows that and goes on.
    except Exception:
        return None


def _from_avro(value: bytes, family: str, codec: "Codec") -> dict[str, Any]:
    from schemas.chat_avro import decode_chunk, decode_request, decode_response

    if family == "requests":
        request = decode_request(value, len(value), codec.registry_ids)
        return {**request.body, "routing": request.routing.model_dump(exclude_unset=True)}
    decode = decode_chunk if family == "chunks" else decode_response
    return decode(value, codec.registry_ids)


def requests_of(record: "ConsumerRecord", codec: "Codec") -> set[str]:
    """Every id that the record may be asked for by: of its header, its value, its source."""
    import orjson

    from schemas.ids import Source

    found = {str(Source(record.topic, record.partition, record.offset))}
    found |= {_text(value) or "" for name, value in record.headers if name == "request-id"}
    if record.value is None:
        return found
    try:
        if record.value[:1] == b"{":
            document = orjson.loads(record.value)
            routing = document.get("routing")
            found |= {str(part.get("request_id")) for part in (document, routing) if isinstance(part, dict)}
        else:
            found.add(str(getattr(codec.decode(record.value), "request_id", "")))
    except Exception:
        # What cannot be read names no request.
        return found
    return found


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")
