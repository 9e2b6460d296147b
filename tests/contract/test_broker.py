"""What the simulation takes for granted of a broker, held against the simulation's own broker and against Kafka."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from contract.broker_sides import PARTITIONS, FakeSide, KafkaSide, Member, Place, Side, everything
from simulation.virtual import VirtualLoop

from schemas.errors import LeaseLost
from streams.lease import OpenEnded

Promise = Callable[[Side], Awaitable[None]]


class HandLease:
    """A lease that a promise opens and ends. `over`: the doubt is decided, by what `open` is then."""

    def __init__(self) -> None:
        self.open = True
        self.over, self.asked = asyncio.Event(), asyncio.Event()

    def valid(self) -> bool:
        return self.open

    async def settled(self) -> bool:
        self.asked.set()
        await self.over.wait()
        return self.open


async def offsets_are_dense_and_acknowledged(side: Side) -> None:
    producer, reader = await side.producer(OpenEnded()), await side.reader()
    futures = [await producer.send(side.plain, b"%d" % n, key=b"k", partition=0) for n in range(20)]
    placed = [await future for future in futures]
    found = await everything(reader, side.plain, 0)
    assert [record.offset for record in found] == list(range(20)) == [place.offset for place in placed]
    assert [record.value for record in found] == [b"%d" % n for n in range(20)]
    assert await everything(reader, side.plain, 1) == []


async def stamps_are_the_brokers_and_never_fall(side: Side) -> None:
    producer, reader = await side.producer(OpenEnded()), await side.reader()
    placed = []
    for number in range(5):
        placed.append(await (await producer.send(side.plain, b"%d" % number, partition=0)))
        await asyncio.sleep(0.02)
    stamps = [record.timestamp for record in await everything(reader, side.plain, 0)]
    assert stamps == [place.timestamp for place in placed] == sorted(stamps)
    assert stamps[-1] > stamps[0]


async def key_value_and_headers_come_back(side: Side) -> None:
    producer, reader = await side.producer(OpenEnded()), await side.reader()
    headers = [("a", b"1"), ("a", b"2"), ("b", b"")]
    await (await producer.send(side.plain, None, key=b"k", partition=1, headers=headers))
    await (await producer.send(side.plain, b"v", partition=1))
    first, second = await everything(reader, side.plain, 1)
    assert (first.key, first.value, list(first.headers)) == (b"k", None, headers)
    assert (second.key, second.value, list(second.headers)) == (None, b"v", [])


async def a_lost_acknowledgement_appends_once(side: Side) -> None:
    producer, reader = await side.producer(OpenEnded()), await side.reader()
    await (await producer.send(side.plain, b"before", partition=0))
    side.lose_ack(producer)
    placed = await (await producer.send(side.plain, b"tried twice", partition=0))
    await (await producer.send(side.plain, b"after", partition=0))
    found = await everything(reader, side.plain, 0)
    assert [record.value for record in found] == [b"before", b"tried twice", b"after"]
    assert (placed.offset, placed.timestamp) == (1, found[1].timestamp)


async def a_reader_seeks_pauses_and_knows_its_position(side: Side) -> None:
    producer, reader = await side.producer(OpenEnded()), await side.reader()
    first, second = (TopicPartition(side.plain, number) for number in range(PARTITIONS))
    for number in range(4):
        for place in (first, second):
            await (await producer.send(side.plain, b"%d" % number, partition=place.partition))
    reader.assign([first, second])
    reader.seek(first, 2)
    reader.pause(second)
    assert await reader.end_offsets([first, second]) == {first: 4, second: 4}
    assert await reader.beginning_offsets([first, second]) == {first: 0, second: 0}
    got: list[Any] = []
    while len(got) < 2:
        batch = await reader.getmany(timeout_ms=1000)
        assert second not in batch
        got += [record.offset for record in batch.get(first, [])]
    assert got == [2, 3]
    assert await reader.position(first) == 4


async def a_waiting_fetch_ends_empty_or_with_the_next_record(side: Side) -> None:
    producer, reader = await side.producer(OpenEnded()), await side.reader()
    place = TopicPartition(side.plain, 0)
    reader.assign([place])
    await reader.seek_to_beginning(place)
    assert await reader.getmany(timeout_ms=200) == {}
    await producer.send(side.plain, b"new", partition=0)
    batch: dict[TopicPartition, list[Any]] = {}
    while not batch:
        batch = await reader.getmany(timeout_ms=5000)
    assert [record.value for record in batch[place]] == [b"new"]


async def an_instant_finds_the_first_record_from_it_on(side: Side) -> None:
    producer, reader = await side.producer(OpenEnded()), await side.reader()
    place = TopicPartition(side.plain, 0)
    placed = []
    for number in range(3):
        placed.append(await (await producer.send(side.plain, b"%d" % number, partition=0)))
        await asyncio.sleep(0.05)
    for at, offset in ((0, 0), (placed[1].timestamp, 1), (placed[1].timestamp + 1, 2)):
        assert (await reader.offsets_for_times({place: at}))[place].offset == offset
    assert (await reader.offsets_for_times({place: placed[2].timestamp + 1}))[place] is None


async def compaction_keeps_what_was_written_last(side: Side) -> None:
    producer, reader = await side.producer(OpenEnded()), await side.reader()
    for key, value in ((b"a", b"9"), (b"b", b"1"), (b"a", b"2"), (b"a", b"1")):
        await (await producer.send(side.compacted, value, key=key, partition=0))
    await side.rolled()
    await (await producer.send(side.compacted, b"", key=b"end", partition=0))
    await side.compact(0, kept=3)
    found = await everything(reader, side.compacted, 0)
    assert [(r.offset, r.key, r.value) for r in found] == [(1, b"b", b"1"), (3, b"a", b"1"), (4, b"end", b"")]
    place = TopicPartition(side.compacted, 0)
    assert await reader.end_offsets([place]) == {place: 5}
    assert await reader.position(place) == 5


async def a_lapsed_lease_holds_and_a_confirmed_one_sends(side: Side) -> None:
    lease, reader = HandLease(), await side.reader()
    producer = await side.producer(lease)
    lease.open = False
    held = await producer.send(side.plain, b"held", partition=0)
    await lease.asked.wait()
    assert await everything(reader, side.plain, 0) == []
    lease.open = True
    lease.over.set()
    await held
    assert [record.value for record in await everything(reader, side.plain, 0)] == [b"held"]


async def a_lost_lease_drops_until_the_next_producer(side: Side) -> None:
    lease, reader = HandLease(), await side.reader()
    producer = await side.producer(lease)
    lease.open = False
    dropped = await producer.send(side.plain, b"dropped", partition=0)
    lease.over.set()
    with pytest.raises(LeaseLost):
        await dropped
    with pytest.raises(LeaseLost):
        await producer.send(side.plain, b"too late", partition=0)
    lease.open = True
    await producer.ready()
    await (await producer.send(side.plain, b"new", partition=0))
    assert [record.value for record in await everything(reader, side.plain, 0)] == [b"new"]


async def flush_waits_for_what_was_handed_over(side: Side) -> None:
    producer = await side.producer(OpenEnded())
    futures = [await producer.send(side.plain, b"%d" % n, partition=n % PARTITIONS) for n in range(50)]
    await producer.flush(30.0)
    assert all(future.done() for future in futures)


def _every(side: Side) -> set[Place]:
    return {(side.plain, number) for number in range(PARTITIONS)}


async def _until(member: Member, answer: str, others: tuple[Member, ...] = ()) -> None:
    async with asyncio.timeout(60):
        while await member.beat() != answer:
            for other in others:
                await other.beat()
            await asyncio.sleep(0.05)


async def _both(side: Side) -> tuple[Member, Member, set[Place], set[Place]]:
    """Two members after the rebalance that the second one caused."""
    first, second = await side.member(), await side.member()
    await first.join()
    joining = asyncio.create_task(second.join())
    await _until(first, "rebalancing")
    mine = await first.join()
    return first, second, mine, await joining


async def a_single_member_gets_everything(side: Side) -> None:
    member = await side.member()
    assert await member.join() == _every(side)
    assert await member.beat() == "ok"
    assert await member.committed() == {}


async def a_stranger_is_refused(side: Side) -> None:
    first, second = await side.member(), await side.member()
    await first.join()
    assert await first.stranger_beats() == "gone"
    joining = asyncio.create_task(second.join())
    await _until(first, "rebalancing")
    assert await first.stranger_beats() == "gone"
    await asyncio.gather(first.join(), joining)
    assert await second.stranger_beats() == "gone"


async def two_members_share_without_overlap(side: Side) -> None:
    first, second, mine, others = await _both(side)
    assert mine | others == _every(side)
    assert not mine & others
    assert (first.generation, second.generation) == (2, 2)
    assert (await first.beat(), await second.beat()) == ("ok", "ok")


async def every_rebalance_is_one_generation(side: Side) -> None:
    first, second, _, _ = await _both(side)
    third = await side.member()
    joining = asyncio.create_task(third.join())
    await _until(first, "rebalancing")
    await asyncio.gather(first.join(), second.join(), joining)
    assert (first.generation, second.generation, third.generation) == (3, 3, 3)


async def a_commit_counts_while_a_rebalance_waits_for_its_members(side: Side) -> None:
    first, second = await side.member(), await side.member()
    await first.join()
    joining = asyncio.create_task(second.join())
    await _until(first, "rebalancing")
    assert await first.commit({(side.plain, 0): 7})
    await first.join()
    await joining
    assert (await second.committed())[side.plain, 0] == 7


async def a_commit_of_an_older_generation_is_refused(side: Side) -> None:
    first, second, _, _ = await _both(side)
    assert await second.commit({(side.plain, 0): 5})
    first.generation -= 1
    assert not await first.commit({(side.plain, 0): 9})
    assert await first.beat() == "gone"
    assert (await second.committed())[side.plain, 0] == 5


async def a_rebalance_goes_on_without_a_silent_member(side: Side) -> None:
    silent, second = await side.member(), await side.member()
    await silent.join()
    assert await silent.commit({(side.plain, 1): 3})
    assert await second.join() == _every(side)
    assert await silent.beat() == "gone"
    assert not await silent.commit({(side.plain, 1): 9})
    assert (await second.committed())[side.plain, 1] == 3


async def a_silent_member_is_dropped_after_its_session(side: Side) -> None:
    silent, second, _, _ = await _both(side)
    await _until(second, "rebalancing")
    assert await second.join() == _every(side)
    assert await silent.beat() == "gone"


async def a_member_that_leaves_makes_room_at_once(side: Side) -> None:
    leaving, second, _, _ = await _both(side)
    await leaving.commit({(side.plain, 0): 4})
    await leaving.leave()
    await _until(second, "rebalancing")
    assert await second.join() == _every(side)
    assert (await second.committed())[side.plain, 0] == 4
    assert await leaving.beat() == "gone"


async def a_member_that_joins_anew_is_another(side: Side) -> None:
    first, second, _, _ = await _both(side)
    await first.leave()
    await second.leave()
    again = await side.member()
    assert await again.join() == _every(side)
    assert await second.beat() == "gone"


PROMISES: tuple[Promise, ...] = (
    offsets_are_dense_and_acknowledged,
    stamps_are_the_brokers_and_never_fall,
    key_value_and_headers_come_back,
    a_lost_acknowledgement_appends_once,
    a_reader_seeks_pauses_and_knows_its_position,
    a_waiting_fetch_ends_empty_or_with_the_next_record,
    an_instant_finds_the_first_record_from_it_on,
    compaction_keeps_what_was_written_last,
    a_lapsed_lease_holds_and_a_confirmed_one_sends,
    a_lost_lease_drops_until_the_next_producer,
    flush_waits_for_what_was_handed_over,
    a_single_member_gets_everything,
    a_stranger_is_refused,
    two_members_share_without_overlap,
    every_rebalance_is_one_generation,
    a_commit_counts_while_a_rebalance_waits_for_its_members,
    a_commit_of_an_older_generation_is_refused,
    a_rebalance_goes_on_without_a_silent_member,
    a_silent_member_is_dropped_after_its_session,
    a_member_that_leaves_makes_room_at_once,
    a_member_that_joins_anew_is_another,
)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_the_simulated_broker(promise: Promise) -> None:
    loop = VirtualLoop(random.Random(7))
    loop.run(promise(FakeSide(loop)))  # type: ignore[arg-type]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_kafka(promise: Promise, request: pytest.FixtureRequest, prefix: str) -> None:
    async with KafkaSide(request.getfixturevalue("kafka").bootstrap_servers, prefix) as side:
        await promise(side)
