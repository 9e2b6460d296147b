"""The leased producer on a real broker: nothing is written without the lease, and nothing is lost with it."""

import asyncio

import pytest
from loop import Bench, catalog, prepared, settings_for

from infra.kafka import EmbeddedKafka
from schemas.codec import Codec
from schemas.errors import LeaseLost
from streams.clock import BrokerClock
from streams.producer import Producer


class HandLease:
    """A lease that the test opens and ends."""

    def __init__(self) -> None:
        self.open = True
        self.over = asyncio.Event()
        self.asked = asyncio.Event()

    def valid(self) -> bool:
        return self.open

    async def settled(self) -> bool:
        self.asked.set()
        await self.over.wait()
        return self.open


async def test_a_lapsed_lease_holds_records_and_a_confirmed_one_sends_them(kafka: EmbeddedKafka, prefix: str) -> None:
    settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, catalog("http://127.0.0.1:1/{name}", {})))
    topic, lease = f"{prefix}decisions", HandLease()
    producer = Producer(kafka.bootstrap_servers, Codec(), BrokerClock(), lease)
    await producer.start()
    async with Bench(settings) as bench:
        lease.open = False
        held = await producer.send(topic, b"held", partition=0)
        await lease.asked.wait()
        assert await bench.records(topic) == []
        lease.open = True
        lease.over.set()
        await held
        assert [record.value for record in await bench.records(topic)] == [b"held"]
    await producer.stop()


class LapsesOnTheWay(HandLease):
    """Holds when the sender asks, and no longer when the request comes to be written: from `asked_times` 0 on."""

    asked_times = 2

    def valid(self) -> bool:
        self.asked_times += 1
        return self.open and self.asked_times != 2


async def test_a_lease_that_lapses_before_the_write_holds_records_too(kafka: EmbeddedKafka, prefix: str) -> None:
    settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, catalog("http://127.0.0.1:1/{name}", {})))
    topic, lease = f"{prefix}decisions", LapsesOnTheWay()
    producer = Producer(kafka.bootstrap_servers, Codec(), BrokerClock(), lease)
    await producer.start()
    async with Bench(settings) as bench:
        # A new topic may refuse the first try, which would be asked about too.
        await (await producer.send(topic, b"early", partition=0))
        lease.asked_times = 0
        late = await producer.send(topic, b"late", partition=0)
        while lease.asked_times < 2 and not late.done():
            await asyncio.sleep(0.01)
        assert not late.done()
        lease.open = False
        await lease.asked.wait()
        assert [record.value for record in await bench.records(topic)] == [b"early"]
        lease.open = True
        lease.over.set()
        await late
        assert [record.value for record in await bench.records(topic)] == [b"early", b"late"]
    await producer.stop()


async def test_a_lost_lease_drops_records_and_the_next_producer_writes(kafka: EmbeddedKafka, prefix: str) -> None:
    settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, catalog("http://127.0.0.1:1/{name}", {})))
    topic, lease = f"{prefix}decisions", HandLease()
    producer = Producer(kafka.bootstrap_servers, Codec(), BrokerClock(), lease)
    await producer.start()
    async with Bench(settings) as bench:
        lease.open = False
        dropped = await producer.send(topic, b"dropped", partition=0)
        lease.over.set()
        with pytest.raises(LeaseLost):
            await dropped
        with pytest.raises(LeaseLost):
            await producer.send(topic, b"too late", partition=0)
        lease.open = True
        await producer.ready()
        await (await producer.send(topic, b"new", partition=0))
        assert [record.value for record in await bench.records(topic)] == [b"new"]
    await producer.stop()
