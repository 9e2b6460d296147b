"""The router's log on Kafka: events, answers and dead letters, each acknowledged before the call returns."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from aiokafka.structs import RecordMetadata

from agents.ports import Answer, DeadLetter, Planned, RequestRecord, Sealed
from schemas.chat_avro import encode_chunk, encode_response
from schemas.errors import RequestError
from streams.incoming import AVRO, JSON
from streams.partitioner import partition_of
from streams.producer import Producer
from streams.topics import Topics

OWN_HEADERS = frozenset({
    "request-id", "content-type", "traceparent", "turnout-status", "turnout-source", "turnout-run", "turnout-tenant",
    "turnout-retryable",
})  # fmt: skip
# Of a batch's head with a record's own numbers, and of the two lengths of a header.
BATCH_BYTES, HEADER_BYTES = 61 + 64, 10
LONGEST_KEY = 64 * 1024


class KafkaEventLog:
    """EventLog over the leased producer. `answering`: answers wait while it is not set.

    `limits`: topic -> bytes of the largest batch that it takes; one that is not named takes any.
    """

    def __init__(
        self,
        producer: Producer,
        topics: Topics,
        answering: asyncio.Event,
        registry_ids: Mapping[tuple[str, int], int] | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self._answering = answering
        self._limits = limits or {}
        self._registry_ids = registry_ids
        self._producer = producer
        self._topics = topics
        self._requests = topics.by_name
        self._names: Mapping[str, str] = {
            kind: topics.name(kind) for kind in ("decisions", "attempts", "costs", "transitions", "dead-letters")
        }

    async def append(self, events: Sequence[Planned]) -> None:
        """Write events, all at once; returns when every one is acknowledged. Raises LeaseLost."""
        count = self._topics.partitions
        futures = [
            await self._producer.emit(
                self._names[item.kind], item.event, key=item.key,
                partition=partition_of(item.key.encode(), count) if item.partition is None else item.partition,
            )
            for item in events
        ]  # fmt: skip
        await acknowledged(futures)

    def seal(self, record: RequestRecord, answer: Answer) -> Sealed:
        """A final answer in the partition number of its request, with its key and headers."""
        topic = self._requests[record.source.topic].responses
        as_avro = record.header("content-type") == AVRO
        value = encode_response(answer.body, self._registry_ids) if as_avro else orjson.dumps(answer.body)
        own = {
            "request-id": answer.request_id,
            "content-type": AVRO if as_avro else JSON,
            "traceparent": answer.traceparent,
            "turnout-status": answer.status,
            "turnout-source": str(record.source),
            "turnout-run": str(record.run),
            "turnout-tenant": answer.tenant,
            "turnout-retryable": "true" if answer.retryable else "false",
        }
        sealed = Sealed(topic, record.source.partition, record.key, value, _echoed(record, own))
        try:
            self._check(sealed)
        except RequestError:
            if answer.status != "error":
                raise
            # What is left of an error without the request's own headers is small.
            return replace(sealed, key=None, headers=[(name, item.encode()) for name, item in own.items()])
        return sealed

    async def answer(self, sealed: Sealed) -> None:
        """Publish a final answer."""
        await self._answering.wait()
        await acknowledged([await self._sent(sealed)])

    async def _sent(self, sealed: Sealed) -> asyncio.Future[RecordMetadata]:
        return await self._producer.send(
            sealed.topic, sealed.value, key=sealed.key, partition=sealed.partition, headers=sealed.headers
        )

    def _check(self, sealed: Sealed) -> None:
        """A broker that refuses a record leaves a hole in an idempotent producer's numbers, so it must never see one."""
        limit = self._limits.get(sealed.topic)
        if limit is None or (size := _size(sealed)) <= limit:
            return
        message = (
            f"The answer has {size} bytes and {sealed.topic} takes {limit} (max.message.bytes); "
            "ask for less, such as by max_tokens, or raise it"
        )
        raise RequestError("request_too_large", message)

    def seal_chunk(self, record: RequestRecord, body: dict[str, Any], request_id: str) -> Sealed:
        """A chunk in the partition number of its request, with its key and headers. Raises RequestError where it is too large."""
        topic = self._requests[record.source.topic].chunks
        as_avro = record.header("content-type") == AVRO
        value = encode_chunk(body, self._registry_ids) if as_avro else orjson.dumps(body)
        own = {
            "request-id": request_id,
            "content-type": AVRO if as_avro else JSON,
            "turnout-source": str(record.source),
        }
        sealed = Sealed(topic, record.source.partition, record.key, value, _echoed(record, own))
        self._check(sealed)
        return sealed

    async def chunk(self, sealed: Sealed) -> asyncio.Future[RecordMetadata]:
        """Hand a chunk over; the future is its acknowledgement."""
        return await self._sent(sealed)

    async def dead_letter(self, record: RequestRecord, letter: DeadLetter) -> None:
        """Say where an unreadable record stands; never its bytes."""
        key = letter_key(record.key)
        future = await self._producer.send(self._names["dead-letters"], letter_value(letter), key=key)
        await acknowledged([future])


def letter_key(key: bytes | None) -> bytes | None:
    """The original key; one that would leave no room for the letter stays where its record stands."""
    return key if key is None or len(key) <= LONGEST_KEY else None


def letter_value(letter: DeadLetter) -> bytes:
    """A record of llm.dead-letters: JSON."""
    return orjson.dumps({
        "reason": letter.reason,
        "source": {"topic": letter.source.topic, "partition": letter.source.partition, "offset": letter.source.offset},
        "length": letter.length,
        "hash": letter.sha256,
        "request_id": letter.request_id,
    })  # fmt: skip


def _size(sealed: Sealed) -> int:
    """Bytes of a batch that holds the record alone, and not fewer."""
    headers = sum(len(name.encode()) + len(value or b"") + HEADER_BYTES for name, value in sealed.headers)
    return BATCH_BYTES + len(sealed.key or b"") + len(sealed.value) + headers


def _echoed(record: RequestRecord, own: Mapping[str, str]) -> list[tuple[str, bytes]]:
    """The request's own headers, then ours."""
    echoed = [(name, item) for name, item in record.headers if name not in OWN_HEADERS]
    return [*echoed, *((name, item.encode()) for name, item in own.items())]


async def acknowledged(futures: Sequence[asyncio.Future[RecordMetadata]]) -> list[RecordMetadata]:
    """Wait for all; the first failure is raised once every one has ended, so that none is left unobserved."""
    records: list[RecordMetadata] = []
    failure: Exception | None = None
    # One after the other: they mostly come in one answer of the broker; asyncio.wait() adds and removes a callback for each.
    for future in futures:
        try:
            records.append(await future)
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return records
