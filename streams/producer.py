"""The producer: idempotent, acks=all, no linger, every delivery awaited, every write under the lease."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any, Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.producer.sender import Sender, SendProduceReqHandler
from aiokafka.structs import RecordMetadata, TopicPartition

import streams.connections  # noqa: F401 - every client from here on uses them
from schemas.codec import Codec
from schemas.errors import LeaseLost
from schemas.events import Event
from schemas.snapshots import Snapshot
from streams.access import Cluster, client_options
from streams.clock import BrokerClock
from streams.lease import OpenEnded

log = structlog.get_logger()
HELD_POLL_S = 0.01
REQUEST_TIMEOUT_MS = 30_000
Headers = Sequence[tuple[str, bytes]]


class WriteLease(Protocol):
    """What the sender asks before a socket write."""

    def valid(self) -> bool: ...
    async def settled(self) -> bool: ...


class LeasedWrite(SendProduceReqHandler):  # type: ignore[misc]
    """One produce request, for which the lease is asked again by the connection that writes it.

    There may be a new connection to wait for in between. A request that comes too late is tried again, and so held.
    """

    def create_request(self) -> Any:
        request = super().create_request()
        request.may_write = self._sender.lease.valid
        return request


class LeasedSender(Sender):  # type: ignore[misc]
    """aiokafka's sender, which never expires an idempotent batch by itself, behind the lease.

    A batch whose lease lapsed waits; when the membership turns out to be gone it fails with LeaseLost, and so does all
    that comes after it: its sequence numbers are used up, so the producer must be replaced.
    """

    def __init__(self, lease: WriteLease, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        self.lease = lease
        self.lost = False
        self.held = 0

    async def _send_produce_req(self, node_id: int, batches: dict[Any, Any]) -> None:
        while not self.lost and not self.lease.valid():
            self.held += 1
            try:
                self.lost = not await self.lease.settled()
            finally:
                self.held -= 1
        if self.lost:
            for batch in batches.values():
                batch.failure(LeaseLost("the partitions may belong to another worker now"))
        else:
            await LeasedWrite(self, batches).do(node_id)
        self._in_flight.remove(node_id)
        self._muted_partitions.difference_update(batches)


class Producer:
    """Owns one aiokafka producer at a time and replaces it when its lease was lost.

    `_known`: topics whose metadata that producer has.
    """

    def __init__(self, cluster: Cluster, codec: Codec, clock: BrokerClock, lease: WriteLease | None = None) -> None:
        self._cluster = cluster
        self._codec = codec
        self._clock = clock
        self._lease: WriteLease = lease or OpenEnded()
        self._kafka: AIOKafkaProducer | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._known: set[str] = set()

    async def start(self) -> None:
        """Connect. Raises aiokafka's KafkaConnectionError when no broker answers."""
        kafka = AIOKafkaProducer(
            **client_options(self._cluster),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_request_size=32 * 1024 * 1024,
            max_batch_size=256 * 1024,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        # The constructor makes a plain sender; nothing runs in it before start().
        kafka._sender = LeasedSender(
            self._lease, kafka.client, acks=-1, txn_manager=kafka._txn_manager,
            message_accumulator=kafka._message_accumulator, retry_backoff_ms=100,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )  # fmt: skip
        await kafka.start()
        self._kafka, self._known = kafka, set()

    async def stop(self) -> None:
        if self._replacing is not None:
            await asyncio.wait([self._replacing])
        if self._kafka is not None:
            await self._kafka.stop()
            self._kafka = None

    async def send(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, partition: int | None = None,
        headers: Headers = (),
    ) -> asyncio.Future[RecordMetadata]:  # fmt: skip
        """Hand a record over; the future is its acknowledgement. Raises LeaseLost, and so may the future."""
        kafka = self._current()
        sent = time.monotonic()
        future: asyncio.Future[RecordMetadata]
        if partition is not None and topic in self._known:
            # As send() does, which asks each time for the topic's metadata and the set of its partitions: known here.
            future = await kafka._message_accumulator.add_message(
                TopicPartition(topic, partition), key, value, REQUEST_TIMEOUT_MS / 1_000, headers=list(headers)
            )
        else:
            future = await kafka.send(topic, value, key=key, partition=partition, headers=list(headers))
            self._known.add(topic)
        if self._clock.listens(sent):
            future.add_done_callback(lambda done: self._acknowledged(done, sent))
        return future

    async def emit(
        self, topic: str, event: Event | Snapshot, *, key: str | None = None, partition: int | None = None
    ) -> asyncio.Future[RecordMetadata]:
        """Hand an event over; the future is its acknowledgement."""
        return await self.send(
            topic, self._codec.encode(event), key=key.encode() if key is not None else None, partition=partition
        )

    async def flush(self, timeout_s: float) -> None:
        """Wait for what was handed over, at most so long; a frozen broker is the lease's to judge."""
        if self._kafka is not None:
            with contextlib.suppress(TimeoutError, LeaseLost):
                async with asyncio.timeout(timeout_s):
                    await self._kafka.flush()

    def _current(self) -> AIOKafkaProducer:
        if self._kafka is None or self._kafka._sender.lost:
            self._begin_replacing()
            raise LeaseLost("the producer is being replaced after its lease was lost")
        return self._kafka

    def _begin_replacing(self) -> None:
        if self._kafka is not None and (self._replacing is None or self._replacing.done()):
            self._replacing = asyncio.create_task(self._replace(self._kafka))

    async def ready(self) -> None:
        """Wait until a producer whose lease was lost has been replaced: called when partitions are assigned."""
        # A batch still held from an earlier assignment decides first: it may mark this producer as lost.
        while self._kafka is not None and self._kafka._sender.held and not self._kafka._sender.lost:
            await asyncio.sleep(HELD_POLL_S)
        if self._kafka is not None and self._kafka._sender.lost:
            self._begin_replacing()
        if self._replacing is not None:
            await self._replacing

    async def _replace(self, lost: AIOKafkaProducer) -> None:
        log.warning("producer replaced", reason="its lease was lost")
        self._kafka = None
        await lost.stop()
        await self.start()

    def _acknowledged(self, done: asyncio.Future[RecordMetadata], sent: float) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        self._clock.acknowledged(sent, done.result().timestamp)
