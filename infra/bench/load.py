"""`python -m infra.bench.load`: publishes requests at a fixed rate or with a fixed number in flight, and reads the answers.

A user of the topics in a process of its own: it shares no interpreter with what is measured.
"""

import argparse
import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from infra.bench.marks import mark, report
from streams.reader import group_less, partitions_of

PROMPT = "Explain in two sentences why a queue between two services makes both of them easier to operate."
BODY = orjson.dumps({"model": "auto", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 64})
# A backlog of an overloaded machine is served before the next phase begins, and a request whose slow calls fail one after
# the other is waited for.
SETTLE_S = 120.0


@dataclass
class Traffic:
    """Requests of one run. `sent`: request id -> acknowledgement; `answered`: id -> broker's ms of its answer;
    `took_ms`: id -> from handing the request over to holding its answer, as its user sees it.
    """

    producer: AIOKafkaProducer
    topic: str
    body: bytes = BODY
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    sent: dict[str, asyncio.Future[RecordMetadata]] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    took_ms: dict[str, float] = field(default_factory=dict)
    errors: int = 0
    room: asyncio.Semaphore | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self) -> None:
        request_id = f"{self.name}-{len(self.sent)}"
        self.began[request_id] = time.perf_counter()
        self.sent[request_id] = await self.producer.send(
            self.topic, self.body, key=request_id.encode(), headers=[("request-id", request_id.encode())]
        )

    async def read(self, consumer: AIOKafkaConsumer) -> None:
        """Count answers for ever."""
        while True:
            batch = await consumer.getmany(timeout_ms=100)
            now = time.perf_counter()
            for records in batch.values():
                for record in records:
                    headers = dict(record.headers)
                    request_id = headers.get("request-id", b"").decode()
                    if request_id not in self.sent or request_id in self.answered:
                        continue
                    self.answered[request_id] = record.timestamp
                    self.took_ms[request_id] = (now - self.began[request_id]) * 1000
                    self.errors += headers.get("turnout-status") != b"ok"
                    if self.room is not None:
                        self.room.release()
            self.arrived.set()


async def at_rate(traffic: Traffic, rate: float, warm_up_s: float, seconds: float) -> tuple[int, int]:
    """Open loop: the n-th request is sent at n / rate whatever comes back. Returns the numbers in the window."""
    loop = asyncio.get_running_loop()
    begin, total = round(rate * warm_up_s), round(rate * (warm_up_s + seconds))
    started, before = loop.time(), 0
    for number in range(total):
        if number == begin:
            before = len(traffic.answered)
            mark("start")
        if (wait := started + number / rate - loop.time()) > 0:
            await asyncio.sleep(wait)
        await traffic.send()
    mark("end", requests=len(traffic.answered) - before)
    return begin, total


async def in_flight(traffic: Traffic, count: int, warm_up_s: float, seconds: float) -> tuple[int, int]:
    """Closed loop: `count` requests wait for their answer at any time. Returns the numbers in the window."""
    loop = asyncio.get_running_loop()
    traffic.room = asyncio.Semaphore(count)
    started = loop.time()
    begin: int | None = None
    before = 0
    while (now := loop.time()) < started + warm_up_s + seconds:
        if begin is None and now >= started + warm_up_s:
            begin, before = len(traffic.sent), len(traffic.answered)
            mark("start")
        await traffic.room.acquire()
        await traffic.send()
    mark("end", requests=len(traffic.answered) - before)
    return begin or 0, len(traffic.sent)


async def main(given: argparse.Namespace) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=given.servers, linger_ms=0)
    async with group_less(given.servers, wait_ms=500) as consumer, producer:
        assigned = await partitions_of(consumer, given.answers)
        consumer.assign(assigned)
        await consumer.seek_to_end(*assigned)
        for partition in assigned:
            await consumer.position(partition)
        traffic = Traffic(producer, given.topic, given.body.encode() if given.body else BODY)
        reading = asyncio.create_task(traffic.read(consumer))
        if given.in_flight:
            first, end = await in_flight(traffic, given.in_flight, given.warm_up, given.seconds)
        else:
            first, end = await at_rate(traffic, given.rate, given.warm_up, given.seconds)
        try:
            async with asyncio.timeout(SETTLE_S):
                while len(traffic.answered) < len(traffic.sent):
                    traffic.arrived.clear()
                    await traffic.arrived.wait()
        except TimeoutError:
            pass
        reading.cancel()
        rows = []
        for request_id in list(traffic.sent)[first:end]:
            stood = await traffic.sent[request_id]
            answered, took_ms = traffic.answered.get(request_id), traffic.took_ms.get(request_id)
            rows.append([stood.partition, stood.offset, stood.timestamp, answered, took_ms])
        report({"errors": traffic.errors, "unanswered": len(traffic.sent) - len(traffic.answered), "rows": rows})


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.bench.load", description="Publish requests, read answers.")
    parser.add_argument("--servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--answers", required=True)
    parser.add_argument("--body", default="", metavar="JSON", help="the request (default: a short question)")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second, open loop")
    parser.add_argument("--in-flight", type=int, default=0, help="closed loop with this many requests instead")
    parser.add_argument("--warm-up", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    uvloop.run(main(parsed()))
