"""Two brokers behind one face: the simulation's in virtual time, and Kafka."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import (
    GroupLoadInProgressError,
    IllegalGenerationError,
    MemberIdRequired,
    NoError,
    NotCoordinatorForGroupError,
    RebalanceInProgressError,
    RequestTimedOutError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest
from aiokafka.protocol.produce import ProduceRequest
from simulation.broker import Broker
from simulation.coordinator import Group, MemberGone
from simulation.producer import SimProducer
from simulation.reader import Reader
from simulation.virtual import Process, VirtualLoop

from schemas.codec import Codec
from streams.clock import BrokerClock
from streams.membership import NOBODY
from streams.producer import Producer
from streams.reader import read_to_end

PARTITIONS = 2
SESSION_S = 6.0
REBALANCE_S = 3.0
Place = tuple[str, int]
GONE = (IllegalGenerationError, UnknownMemberIdError)


class Member(Protocol):
    """One member of a consumer group, as the coordinator sees it."""

    generation: int

    async def join(self) -> set[Place]:
        """Join or join again; returns what was assigned once the rebalance is over."""
        ...

    async def beat(self) -> str:
        """A heartbeat's answer: ok | rebalancing | gone."""
        ...

    async def stranger_beats(self) -> str:
        """What a heartbeat in the name of a member that the group does not have is answered."""
        ...

    async def commit(self, offsets: dict[Place, int]) -> bool:
        """Whether the coordinator took the offsets."""
        ...

    async def committed(self) -> dict[Place, int]: ...
    async def leave(self) -> None: ...


class Side(Protocol):
    """A broker with two topics of two partitions."""

    plain: str
    compacted: str

    async def reader(self) -> Any: ...
    async def producer(self, lease: Any) -> Any: ...
    async def member(self) -> Member: ...
    def lose_ack(self, producer: Any) -> None:
        """The acknowledgement of the next write never arrives; the write does."""
        ...

    async def rolled(self) -> None:
        """What is written from now on stands in another segment."""
        ...

    async def compact(self, partition: int, kept: int) -> None:
        """Returns when no more than so many records of the compacted topic are left."""
        ...


class FakeSide:
    """The simulation's broker."""

    plain, compacted = "plain", "compacted"

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._broker = Broker(loop, random.Random(7), PARTITIONS)
        for topic in (self.plain, self.compacted):
            for number in range(PARTITIONS):
                self._broker.log(topic, number)
        self._members = 0

    async def reader(self) -> Any:
        return Reader(self._broker)

    async def producer(self, lease: Any) -> Any:
        lease._expires = 0.0
        return SimProducer(self._loop, Process("contract"), self._broker, None, lease)

    async def member(self) -> Member:
        self._members += 1
        return FakeMember(self._broker, self._broker.group("g", (self.plain,), SESSION_S, REBALANCE_S), self._members)

    def lose_ack(self, producer: Any) -> None:
        network = self._broker.network
        network.lost_acks = 1.0
        self._loop.later(0.5, setattr, network, "lost_acks", 0.0)

    async def rolled(self) -> None:
        return None

    async def compact(self, partition: int, kept: int) -> None:
        self._broker.compact(self.compacted, partition)


class FakeMember:
    def __init__(self, broker: Broker, group: Group, number: int) -> None:
        self._broker, self._group, self._number, self._joins = broker, group, number, 0
        self._name, self.generation = "", 0

    async def join(self) -> set[Place]:
        if not self._name:
            self._joins += 1
            self._name = f"{self._number}/{self._joins}"
        joined: asyncio.Future[int] = self._broker.loop.create_future()
        self._broker.loop.later(self._broker.network.delay(), self._group.join, self._name, joined)
        self.generation = await joined
        return set(self._group.assignment[self._name])

    async def beat(self) -> str:
        return await self._beat(self._name)

    async def stranger_beats(self) -> str:
        return await self._beat(NOBODY)

    async def _beat(self, name: str) -> str:
        answer: str = await self._broker.call(self._group.heartbeat, name, self.generation)
        return answer

    async def commit(self, offsets: dict[Place, int]) -> bool:
        try:
            await self._broker.call(self._group.commit, self._name, self.generation, offsets)
        except MemberGone:
            return False
        return True

    async def committed(self) -> dict[Place, int]:
        found: dict[Place, int] = await self._broker.call(lambda: dict(self._group.committed))
        return found

    async def leave(self) -> None:
        await self._broker.call(self._group.leave, self._name)


class KafkaSide:
    """A real broker, spoken to as our code and its client library do."""

    def __init__(self, servers: str, prefix: str) -> None:
        self._servers = servers
        self.plain, self.compacted, self._group = f"{prefix}plain", f"{prefix}compacted", f"{prefix}group"
        self._closing: list[Callable[[], Awaitable[None]]] = []

    async def __aenter__(self) -> "KafkaSide":
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await admin.start()
        often = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
        await admin.create_topics([
            NewTopic(self.plain, PARTITIONS, 1), NewTopic(self.compacted, PARTITIONS, 1, topic_configs=often),
        ])  # fmt: skip
        while not {self.plain, self.compacted} <= set(await admin.list_topics()):
            await asyncio.sleep(0.05)
        await admin.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        for close in reversed(self._closing):
            await close()

    async def reader(self) -> Any:
        reader = AIOKafkaConsumer(bootstrap_servers=self._servers, enable_auto_commit=False, fetch_max_wait_ms=10)
        await reader.start()
        self._closing.append(reader.stop)
        for topic in (self.plain, self.compacted):
            await reader._client._wait_on_metadata(topic)
        return reader

    async def producer(self, lease: Any) -> Any:
        producer = Producer(self._servers, Codec(), BrokerClock(), lease)
        await producer.start()
        self._closing.append(producer.stop)
        return producer

    async def member(self) -> Member:
        client = AIOKafkaClient(bootstrap_servers=self._servers)
        await client.bootstrap()
        self._closing.append(client.close)
        while True:
            try:
                node = await client.coordinator_lookup(CoordinationType.GROUP, self._group)
                break
            except Exception:
                # The topic of offsets is made when the first group asks for it.
                await asyncio.sleep(0.1)
        return KafkaMember(client, node, self._group, self.plain)

    def lose_ack(self, producer: Any) -> None:
        client, once = producer._kafka.client, []
        send = client.send

        async def send_and_lose(node: int, request: Any, **options: Any) -> Any:
            answer = await send(node, request, **options)
            if isinstance(request, ProduceRequest) and not once:
                once.append(request)
                raise RequestTimedOutError
            return answer

        client.send = send_and_lose

    async def rolled(self) -> None:
        await asyncio.sleep(0.3)

    async def compact(self, partition: int, kept: int) -> None:
        reader = await self.reader()
        async with asyncio.timeout(120):
            while len(await everything(reader, self.compacted, partition)) > kept:
                await asyncio.sleep(0.5)


class KafkaMember:
    """The group protocol itself: a client library would beat and join again by itself."""

    def __init__(self, client: AIOKafkaClient, node: int, group: str, topic: str) -> None:
        self._client, self._node, self._group, self._topic = client, node, group, topic
        self._name, self.generation = "", 0

    async def _send(self, request: Any) -> Any:
        return await self._client.send(self._node, request, group=ConnectionGroup.COORDINATION)

    async def join(self) -> set[Place]:
        metadata = ConsumerProtocolMemberMetadata(0, [self._topic], b"").encode()
        while True:
            joined = await self._send(JoinGroupRequest(
                self._group, int(SESSION_S * 1000), int(REBALANCE_S * 1000), self._name, None, "consumer",
                [("dealt", metadata)],
            ))  # fmt: skip
            error = for_code(joined.error_code)
            if error is UnknownMemberIdError:
                self._name = ""
            elif error is MemberIdRequired:
                self._name = joined.member_id
            elif error in (GroupLoadInProgressError, NotCoordinatorForGroupError):
                # A broker that has just begun makes the topic of offsets first.
                await asyncio.sleep(0.1)
            else:
                assert error is NoError, error
                break
        self._name, self.generation = joined.member_id, joined.generation_id
        dealt = self._dealt([entry[0] for entry in joined.members]) if joined.leader_id == self._name else []
        synced = await self._send(SyncGroupRequest(self._group, self.generation, self._name, None, dealt))
        assert for_code(synced.error_code) is NoError, for_code(synced.error_code)
        assignment = ConsumerProtocolMemberAssignment.decode(synced.member_assignment)
        return {(tp.topic, tp.partition) for tp in assignment.partitions()}

    def _dealt(self, members: list[str]) -> list[tuple[str, bytes]]:
        places = range(PARTITIONS)
        return [
            (name, ConsumerProtocolMemberAssignment(0, [(self._topic, list(places[i :: len(members)]))], b"").encode())
            for i, name in enumerate(members)
        ]

    async def beat(self) -> str:
        return await self._beat(self._name)

    async def stranger_beats(self) -> str:
        return await self._beat(NOBODY)

    async def _beat(self, name: str) -> str:
        error = for_code((await self._send(HeartbeatRequest(self._group, self.generation, name))).error_code)
        if error is RebalanceInProgressError:
            return "rebalancing"
        assert error is NoError or error in GONE, error
        return "ok" if error is NoError else "gone"

    async def commit(self, offsets: dict[Place, int]) -> bool:
        placed = [(topic, [(partition, offset, "")]) for (topic, partition), offset in offsets.items()]
        told = await self._send(OffsetCommitRequest(self._group, self.generation, self._name, -1, placed))
        errors = {for_code(code) for _, partitions in told.topics for _, code in partitions}
        assert errors <= {NoError, *GONE}, errors
        return errors == {NoError}

    async def committed(self) -> dict[Place, int]:
        told = await self._send(OffsetFetchRequest(self._group, [(self._topic, list(range(PARTITIONS)))]))
        return {
            (topic, partition): offset
            for topic, found in told.topics
            for partition, offset, _, _ in found
            if offset >= 0
        }

    async def leave(self) -> None:
        await self._send(LeaveGroupRequest(self._group, self._name))


async def everything(reader: Any, topic: str, partition: int) -> list[Any]:
    """Every record of a partition, by the product's own reader."""
    return [record async for record in read_to_end(reader, [TopicPartition(topic, partition)])]
