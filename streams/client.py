"""A client for users: publish chat requests, await their final answers, follow their chunks.

async with TurnoutClient("127.0.0.1:9092") as client:
    answer = await client.chat({"messages": [{"role": "user", "content": "Hello"}]})
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from schemas.chat_avro import decode_response
from schemas.errors import OperationError
from schemas.feedback import feedback_document
from schemas.ids import DEFAULT_TENANT
from streams.access import Cluster, client_options, no_broker
from streams.answers import DEDUP_WINDOW_MS, Chunk, ChunkOrder, Sent, first_answer, header_of
from streams.reader import group_less, partitions_of, read_to_end

# Final answer and last chunk stand in two topics and may arrive in either order.
LAST_CHUNK_WAIT_S = 2.0


@dataclass(slots=True)
class _Waiting:
    """Records that carry a request's id, as they arrive. `streamed`: a stream waits for its last chunk too."""

    sent: Sent | None = None
    records: list[ConsumerRecord] = field(default_factory=list)
    chunks: list[ConsumerRecord] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    streamed: bool = False


class TurnoutClient:
    """Owns a producer and one reader a topic that it awaits answers or chunks from.

    Answers of sent requests are kept until `answer` returns them: use `send` alone only with a client that ends soon.
    """

    def __init__(self, cluster: Cluster, prefix: str = "llm.") -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._producer: AIOKafkaProducer | None = None
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._opening = asyncio.Lock()
        self._waiting: dict[str, _Waiting] = {}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        producer = AIOKafkaProducer(
            **client_options(self._cluster), acks="all", enable_idempotence=True, max_request_size=32 * 1024 * 1024
        )
        try:
            await producer.start()
        except KafkaConnectionError:
            await producer.stop()
            raise OperationError(no_broker(self._cluster)) from None
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
        stored: RecordMetadata | None = None
        try:
            stored = await self._producer.send_and_wait(
                requests, orjson.dumps(body), key=(key or name).encode(),
                headers=[(header, value.encode()) for header, value in own.items()],
            )  # fmt: skip
        except MessageSizeTooLargeError:
            raise OperationError(f"The request is larger than {requests} takes; send a smaller one.") from None
        except KafkaError as error:
            raise OperationError(f"The request could not be published ({type(error).__name__}); try again.") from None
        finally:
            if stored is None:
                del self._waiting[name]
        tenant = None
        if requests == f"{self._prefix}requests":
            tenant = str((routing or {}).get("tenant") or DEFAULT_TENANT)
        waiting.sent = Sent(
            name, tenant, requests, stored.partition, stored.offset, stored.timestamp, repeatable=given is not None
        )
        return name

    async def answer(self, request_id: str, timeout_s: float = 120.0, *, topic: str | None = None) -> dict[str, Any]:
        """The first final answer of a request, whatever else stands in the topic; also an error answer.

        Works for requests of other clients too, while the topic keeps their answers. Raises OperationError when late.
        """
        return await self._in_time(self._answer(request_id, topic), request_id, timeout_s)

    async def chat(
        self, body: dict[str, Any], *, timeout_s: float = 120.0, key: str | None = None, request_id: str | None = None,
        headers: Mapping[str, str] | None = None, topic: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Send and wait for the final answer. Raises OperationError on a timeout."""
        name = await self.send(body, key=key, request_id=request_id, headers=headers, topic=topic)
        try:
            return await self.answer(name, timeout_s, topic=topic)
        finally:
            # Who asks again for an answer that was late finds it among the earlier ones.
            self._waiting.pop(name, None)

    async def feedback(self, answer: dict[str, Any], score: float, *, given_by: str = "", source: str = "") -> None:
        """Say how good an answer was, from 0 (useless) to 1 (right); returns once the broker has it.

        `given_by`: a person or a grader, whose first score of a request counts. `source`: topic-partition-offset of the
        request, where it is known. Raises ConfigurationError for an error answer or another score, OperationError.
        """
        document = feedback_document(answer, score, given_by, source)
        assert self._producer is not None, "use `async with TurnoutClient(...)`"
        key = document["request_id"].encode()
        try:
            await self._producer.send_and_wait(f"{self._prefix}feedback", orjson.dumps(document), key=key)
        except KafkaError as error:
            raise OperationError(f"The feedback could not be published ({type(error).__name__}); try again.") from None

    async def stream(
        self, body: dict[str, Any], *, timeout_s: float = 120.0, key: str | None = None, request_id: str | None = None,
        headers: Mapping[str, str] | None = None, topic: str | None = None,
    ) -> AsyncIterator[Chunk]:  # fmt: skip
        """Send with `stream: true` and yield chunks; one with `restart` means: drop all text before it.

        The chunk with `last` ends it. A final answer without one (an error before the stream) becomes the last chunk.
        Raises OperationError when it does not end within `timeout_s`.
        """
        chunks = self._sibling(self._requests(topic), "chunks")
        await self._read(chunks)
        deadline = asyncio.get_running_loop().time() + timeout_s
        name = await self.send(body | {"stream": True}, key=key, request_id=request_id, headers=headers, topic=topic)
        waiting, order = self._waiting[name], ChunkOrder()
        waiting.streamed = True
        final = asyncio.create_task(self._answer(name, topic))
        final.add_done_callback(lambda _: waiting.arrived.set())
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
                if answered_at is None:
                    self._still_read(chunks)
                until = deadline if answered_at is None else min(deadline, answered_at + LAST_CHUNK_WAIT_S)
                if not waiting.chunks:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout_at(until):
                            await waiting.arrived.wait()
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
            earlier = await self._earlier(responses, request_id, sent)
            waiting.records[:0] = [record for record in earlier if (record.partition, record.offset) not in known]
        while True:
            waiting.arrived.clear()
            record = first_answer(waiting.records, sent)
            if record is not None:
                if not waiting.streamed:
                    self._waiting.pop(request_id, None)
                return _decoded(record)
            self._still_read(responses)
            await waiting.arrived.wait()

    async def _earlier(self, responses: str, request_id: str, sent: Sent | None) -> list[ConsumerRecord]:
        """Records of the id up to now: in its partition and window where we know them, else in the whole topic."""
        async with group_less(self._cluster) as consumer:
            partitions = await partitions_of(consumer, responses)
            starts: dict[TopicPartition, int] = {}
            if sent is not None:
                partitions = [partition for partition in partitions if partition.partition == sent.partition]
                since = dict.fromkeys(partitions, sent.timestamp_ms - DEDUP_WINDOW_MS)
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
            consumer = await self._stack.enter_async_context(group_less(self._cluster, wait_ms=500))
            partitions = await partitions_of(consumer, topic)
            consumer.assign(partitions)
            for partition, end in (await consumer.end_offsets(partitions)).items():
                consumer.seek(partition, end)
            reader = asyncio.create_task(self._follow(consumer, chunks="chunks" in topic))
            reader.add_done_callback(lambda _: self._wake())
            self._readers[topic] = reader

    def _wake(self) -> None:
        """A reader ended: whoever waits looks."""
        for waiting in self._waiting.values():
            waiting.arrived.set()

    def _still_read(self, topic: str) -> None:
        if self._readers[topic].done():
            raise OperationError(f"Reading {topic} ended; connect anew.")

    async def _follow(self, consumer: AIOKafkaConsumer, *, chunks: bool) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    waiting = self._waiting.get(header_of(record, "request-id") or "")
                    if waiting is not None:
                        (waiting.chunks if chunks else waiting.records).append(record)
                        waiting.arrived.set()


def _drained(records: list[ConsumerRecord]) -> list[ConsumerRecord]:
    taken = records[:]
    records.clear()
    return taken


def _decoded(record: ConsumerRecord) -> dict[str, Any]:
    try:
        if header_of(record, "content-type") == "avro/binary":
            return decode_response(record.value)
        return dict(orjson.loads(record.value))
    except (orjson.JSONDecodeError, TypeError, ValueError):
        raise OperationError("The answer is not a JSON object; send the request as application/json.") from None


def _late(request_id: str, timeout_s: float) -> OperationError:
    return OperationError(
        f"No final answer of {request_id} within {timeout_s:g} s; see `turnout explain {request_id}` and "
        "`turnout status`, or wait longer."
    )
