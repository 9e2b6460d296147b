"""A client for users: publish chat requests, await their final answers, follow their chunks.

    async with TurnoutClient("127.0.0.1:9092") as client:
        answer = await client.chat({"messages": [{"role": "user", "content": "Hello"}]})
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError

from schemas.errors import OperationError
from schemas.ids import DEFAULT_TENANT
from streams.reader import group_less, partitions_of, read_to_end

DEDUP_WINDOW_MS = 600_000
# Final answer and last chunk stand in two topics and may arrive in either order.
LAST_CHUNK_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it was published. `timestamp_ms`: the broker's. `tenant` is None where its topic decides it."""

    request_id: str
    tenant: str | None
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    repeatable: bool

    @property
    def source(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a stream. `restart`: it begins anew; drop the text of every chunk before it.

    `body`: the OpenAI chunk, or the whole final answer (then `last`) where the stream itself did not end.
    """

    body: dict[str, Any]
    run: int
    attempt: int
    sequence: int
    last: bool
    restart: bool

    @property
    def text(self) -> str:
        """The text that this chunk adds."""
        choice = next(iter(self.body.get("choices") or ()), {})
        part = choice.get("delta") or choice.get("message") or {}
        return part.get("content") or ""


@dataclass(slots=True)
class ChunkOrder:
    """The reader's rule: only the highest (run, attempt) counts, and every sequence number once."""

    place: tuple[int, int] | None = None
    sequence: int = -1

    def take(self, body: dict[str, Any]) -> Chunk | None:
        """The chunk, or None where it belongs to an attempt that was given up or was seen before."""
        routing = body.get("routing") or {}
        place, sequence = (int(routing.get("run", 0)), int(routing.get("attempt", 0))), int(routing.get("sequence", 0))
        if self.place is not None and (place < self.place or (place == self.place and sequence <= self.sequence)):
            return None
        restart = self.place is not None and place > self.place
        self.place, self.sequence = place, sequence
        return Chunk(body, *place, sequence, bool(routing.get("last")), restart)


def header_of(record: ConsumerRecord, name: str) -> str | None:
    """The first header of that name as text."""
    return next((value.decode("utf-8", "replace") for key, value in record.headers if key == name and value), None)


def first_answer(records: Iterable[ConsumerRecord], sent: Sent | None) -> ConsumerRecord | None:
    """The final answer of a request among records with its id, in log order: the first that is its own.

    An earlier publication of the same id answers it too (Turnout gives no second answer), unless that answer was a
    retryable error that stood there before the request. Without `sent` the first record is the answer.
    """
    for record in records:
        if sent is None or _answers(record, sent):
            return record
    return None


def _answers(record: ConsumerRecord, sent: Sent) -> bool:
    source = header_of(record, "turnout-source")
    if source == sent.source:
        return True
    if source is not None and source.rsplit("-", 2)[0] != sent.topic:
        return False
    tenant = header_of(record, "turnout-tenant")
    if sent.tenant is not None and tenant is not None and tenant != sent.tenant:
        return False
    after = record.timestamp >= sent.timestamp_ms
    return after or (header_of(record, "turnout-retryable") != "true" and _within_window(record, sent))


def _within_window(record: ConsumerRecord, sent: Sent) -> bool:
    return bool(record.timestamp >= sent.timestamp_ms - DEDUP_WINDOW_MS)


@dataclass(slots=True)
class _Waiting:
    """Records that carry a request's id, as they arrive."""

    sent: Sent | None = None
    records: list[ConsumerRecord] = field(default_factory=list)
    chunks: list[ConsumerRecord] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class TurnoutClient:
    """Owns a producer and one reader a topic that it awaits answers or chunks from.

    Answers of sent requests are kept until `answer` returns them: use `send` alone only with a client that ends soon.
    """

    def __init__(self, bootstrap_servers: str, prefix: str = "llm.") -> None:
        self._servers = bootstrap_servers
        self._prefix = prefix
        self._producer: AIOKafkaProducer | None = None
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._opening = asyncio.Lock()
        self._waiting: dict[str, _Waiting] = {}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._servers, acks="all", enable_idempotence=True, max_request_size=32 * 1024 * 1024
        )
        try:
            await producer.start()
        except KafkaConnectionError:
            await producer.stop()
            raise OperationError(
                f"No Kafka broker answers at {self._servers}; start one (`turnout up`) or correct kafka.bootstrap_servers."
            ) from None
        self._producer = producer
        self._stack.push_async_callback(producer.stop)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reader in self._readers.values():
            reader.cancel()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)
        await self._stack.aclose()

    async def send(
        self, body: dict[str, Any], *, key: str | None = None, request_id: str | None = None,
        headers: Mapping[str, str] | None = None, topic: str | None = None,
    ) -> str:  # fmt: skip
        """Publish a request; returns its id once the broker has it. Raises OperationError.

        `key`: the request id by default. `topic`: a request topic, by full name or by NAME of llm.requests.NAME.
        """
        requests = self._requests(topic)
        await self._read(self._sibling(requests, "responses"))
        routing = body.get("routing") if isinstance(body.get("routing"), dict) else None
        given = request_id or (headers or {}).get("request-id") or (routing or {}).get("request_id")
        name = str(given) if given else f"r-{uuid.uuid4().hex}"
        waiting = self._waiting[name] = _Waiting()
        own = {"content-type": "application/json"} | dict(headers or {}) | {"request-id": name}
        assert self._producer is not None, "use `async with TurnoutClient(...)`"
        try:
            stored = await self._producer.send_and_wait(
                requests, orjson.dumps(body), key=(key or name).encode(),
                headers=[(header, value.encode()) for header, value in own.items()],
            )  # fmt: skip
        except MessageSizeTooLargeError:
            del self._waiting[name]
            raise OperationError(f"The request is larger than {requests} takes; send a smaller one.") from None
        except KafkaError as error:
            del self._waiting[name]
            raise OperationError(f"The request could not be published ({type(error).__name__}); try again.") from None
        tenant = None
        if requests == f"{self._prefix}requests":
            tenant = str((routing or {}).get("tenant") or DEFAULT_TENANT)
        waiting.sent = Sent(
            name, tenant, requests, stored.partition, stored.offset, stored.timestamp, repeatable=given is not None
        )
        return name

    async def answer(self, request_id: str, timeout_s: float = 120.0, *, topic: str | None = None) -> dict[str, Any]:
        """The first final answer of a request, whatever else stands in the topic; also an error answer.

        Works for requests of other clients too, while the topic keeps their answers. Raises OperationError on a timeout.
        """
        return await self._in_time(self._answer(request_id, topic), request_id, timeout_s)

    async def chat(
        self, body: dict[str, Any], *, timeout_s: float = 120.0, key: str | None = None, request_id: str | None = None,
        headers: Mapping[str, str] | None = None, topic: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Send and wait for the final answer. Raises OperationError on a timeout."""
        name = await self.send(body, key=key, request_id=request_id, headers=headers, topic=topic)
        return await self.answer(name, timeout_s, topic=topic)

    async def stream(
        self, body: dict[str, Any], *, timeout_s: float = 120.0, key: str | None = None, request_id: str | None = None,
        headers: Mapping[str, str] | None = None, topic: str | None = None,
    ) -> AsyncIterator[Chunk]:  # fmt: skip
        """Send with `stream: true` and yield chunks; one with `restart` means: drop all text before it.

        The chunk with `last` ends it. A final answer without one (an error before the stream, say) becomes the last chunk.
        Raises OperationError when it does not end within `timeout_s`.
        """
        await self._read(self._sibling(self._requests(topic), "chunks"))
        deadline = asyncio.get_running_loop().time() + timeout_s
        name = await self.send(body | {"stream": True}, key=key, request_id=request_id, headers=headers, topic=topic)
        waiting, order = self._waiting[name], ChunkOrder()
        final = asyncio.create_task(self._answer(name, topic))
        try:
            answered_at: float | None = None
            while True:
                waiting.arrived.clear()
                for record in _drained(waiting.chunks):
                    chunk = order.take(orjson.loads(record.value))
                    if chunk is not None:
                        yield chunk
                        if chunk.last:
                            return
                now = asyncio.get_running_loop().time()
                if final.done():
                    answered_at = answered_at or now
                    if now >= answered_at + LAST_CHUNK_WAIT_S:
                        run, attempt = order.place or (0, 0)
                        yield Chunk(final.result(), run, attempt + 1, 0, True, order.place is not None)
                        return
                if now >= deadline:
                    raise _late(name, timeout_s)
                until = deadline if answered_at is None else min(deadline, answered_at + LAST_CHUNK_WAIT_S)
                arrival = asyncio.create_task(waiting.arrived.wait())
                events = {arrival} if final.done() else {arrival, final}
                await asyncio.wait(events, timeout=until - now, return_when=asyncio.FIRST_COMPLETED)
                arrival.cancel()
        finally:
            final.cancel()
            await asyncio.gather(final, return_exceptions=True)
            self._waiting.pop(name, None)

    async def _in_time(self, work: Awaitable[dict[str, Any]], request_id: str, timeout_s: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(timeout_s):
                return await work
        except TimeoutError:
            raise _late(request_id, timeout_s) from None

    async def _answer(self, request_id: str, topic: str | None) -> dict[str, Any]:
        responses = self._sibling(self._requests(topic), "responses")
        await self._read(responses)
        waiting = self._waiting.setdefault(request_id, _Waiting())
        sent = waiting.sent
        if sent is None or sent.repeatable:
            # An answer from before our reader began may count: the id was published before.
            known = {(record.partition, record.offset) for record in waiting.records}
            earlier = [r for r in await self._earlier(responses, request_id, sent) if (r.partition, r.offset) not in known]
            waiting.records[:0] = earlier
        while True:
            waiting.arrived.clear()
            record = first_answer(waiting.records, sent)
            if record is not None:
                self._waiting.pop(request_id, None)
                return _decoded(record)
            reader = self._readers[responses]
            arrival = asyncio.create_task(waiting.arrived.wait())
            await asyncio.wait({arrival, reader}, return_when=asyncio.FIRST_COMPLETED)
            arrival.cancel()
            if reader.done():
                raise OperationError(f"Reading {responses} ended; connect anew.")

    async def _earlier(self, responses: str, request_id: str, sent: Sent | None) -> list[ConsumerRecord]:
        """Records of the id up to now: in its partition and window where we know them, else in the whole topic."""
        async with group_less(self._servers) as consumer:
            partitions = await existing_partitions(consumer, responses)
            starts: dict[TopicPartition, int] = {}
            if sent is not None:
                partitions = [partition for partition in partitions if partition.partition == sent.partition]
                since = {partition: sent.timestamp_ms - DEDUP_WINDOW_MS for partition in partitions}
                for partition, found in (await consumer.offsets_for_times(since)).items():
                    if found is not None:
                        starts[partition] = found.offset
            return [
                record async for record in read_to_end(consumer, partitions, starts)
                if header_of(record, "request-id") == request_id
            ]  # fmt: skip

    def _requests(self, topic: str | None) -> str:
        base = f"{self._prefix}requests"
        if not topic:
            return base
        return topic if topic == base or topic.startswith(f"{base}.") else f"{base}.{topic}"

    def _sibling(self, requests: str, kind: str) -> str:
        return f"{self._prefix}{kind}{requests.removeprefix(f'{self._prefix}requests')}"

    async def _read(self, topic: str) -> None:
        """Follow a topic from its present end. Raises OperationError when it does not exist."""
        async with self._opening:
            if topic in self._readers:
                return
            consumer = await self._stack.enter_async_context(group_less(self._servers))
            partitions = await existing_partitions(consumer, topic)
            consumer.assign(partitions)
            for partition, end in (await consumer.end_offsets(partitions)).items():
                consumer.seek(partition, end)
            self._readers[topic] = asyncio.create_task(self._follow(consumer, chunks="chunks" in topic))

    async def _follow(self, consumer: AIOKafkaConsumer, *, chunks: bool) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    waiting = self._waiting.get(header_of(record, "request-id") or "")
                    if waiting is not None:
                        (waiting.chunks if chunks else waiting.records).append(record)
                        waiting.arrived.set()


async def existing_partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """All partitions of a topic. Raises OperationError at once when it does not exist."""
    if topic not in await consumer.topics():
        raise OperationError(f"Topic {topic} does not exist; run `turnout topics create`.")
    return await partitions_of(consumer, topic)


def _drained(records: list[ConsumerRecord]) -> list[ConsumerRecord]:
    taken = records[:]
    records.clear()
    return taken


def _decoded(record: ConsumerRecord) -> dict[str, Any]:
    try:
        return dict(orjson.loads(record.value))
    except (orjson.JSONDecodeError, TypeError, ValueError):
        raise OperationError("The answer is not a JSON object; send the request with content-type application/json.") from None


def _late(request_id: str, timeout_s: float) -> OperationError:
    return OperationError(
        f"No final answer of {request_id} within {timeout_s:g} s; see `turnout explain {request_id}` and "
        "`turnout status`, or wait longer."
    )
