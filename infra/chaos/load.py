"""`python -m infra.chaos.load`: publishes requests by an open loop and reads the raw answers, whatever happens to the broker.

Lines on stdin: `again N` publishes the last N ids once more, `enough` ends the traffic; the end of stdin ends the process.
Its report, a JSON file: {"sent", "published": [[partition, offset], ...], "unconfirmed", "repeated", "answered", "errors"}.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from infra.demo.traffic import Plan, bodies
from infra.processes import log_to
from streams.reader import group_less, partitions_of

DRAWN = 500
"""Different bodies; they come round again under new ids."""
SETTLE_S = 90.0
"""How long nothing may arrive before what is left counts as unanswered: above every deadline and session timeout."""


@dataclass
class Load:
    """`sent`: id -> body's place, in order. `answered`: ids with an answer; `errors`: those whose first was an error."""

    producer: AIOKafkaProducer
    topic: str
    seed: int
    sent: dict[str, int] = field(default_factory=dict)
    published: list[tuple[int, int]] = field(default_factory=list)
    unconfirmed: int = 0
    repeated: int = 0
    answered: set[str] = field(default_factory=set)
    errors: int = 0
    enough: bool = False
    arrived_at: float = 0.0

    def __post_init__(self) -> None:
        self._bodies = bodies(Plan(DRAWN, 1.0, self.seed))
        self._pending: set[asyncio.Task[None]] = set()

    def send(self) -> None:
        """The next id."""
        number = len(self.sent)
        name = f"c{self.seed}-{number}"
        self.sent[name] = number % DRAWN
        self._publish(name)

    def again(self, count: int) -> None:
        """The newest ids once more, with the same keys."""
        for name in list(self.sent)[-count:]:
            self.repeated += 1
            self._publish(name)

    def _publish(self, name: str) -> None:
        # A task each: an open loop does not wait for a broker that stands still.
        task = asyncio.create_task(self._stored(name))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _stored(self, name: str) -> None:
        value = orjson.dumps(self._bodies[self.sent[name]])
        try:
            stood = await self.producer.send_and_wait(
                self.topic, value, key=name.encode(), headers=[("request-id", name.encode())]
            )
        except KafkaError:
            # It may stand in the topic or not: the checker reads what does.
            self.unconfirmed += 1
            self.sent.pop(name, None)
            return
        self.published.append((stood.partition, stood.offset))

    async def confirmed(self) -> None:
        """Wait for every acknowledgement."""
        while self._pending:
            await asyncio.wait(self._pending)

    async def read(self, consumer: AIOKafkaConsumer) -> None:
        """Count answers for ever."""
        while True:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    headers = dict(record.headers)
                    name = headers.get("request-id", b"").decode()
                    if name not in self.answered:
                        self.answered.add(name)
                        self.errors += headers.get("turnout-status") != b"ok"
                        self.arrived_at = asyncio.get_running_loop().time()

    def report(self) -> dict[str, Any]:
        return {
            "sent": len(self.sent), "published": self.published, "unconfirmed": self.unconfirmed,
            "repeated": self.repeated, "answered": len(self.answered & self.sent.keys()), "errors": self.errors,
        }  # fmt: skip


async def commands(load: Load) -> None:
    """Follow stdin; its end is the end of whoever started us."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        match line.split():
            case [b"again", count]:
                load.again(int(count))
            case [b"enough"]:
                load.enough = True
    sys.exit(1)


async def main(given: argparse.Namespace) -> None:
    log_to(30, json=True)
    # A batch of a frozen broker waits until it answers again; idempotent, so that no retry publishes twice.
    producer = AIOKafkaProducer(
        bootstrap_servers=given.servers, enable_idempotence=True, linger_ms=0, max_batch_size=1 << 20,
        request_timeout_ms=180_000,
    )  # fmt: skip
    async with group_less(given.servers) as consumer, producer:
        consumer.assign(await partitions_of(consumer, given.answers))
        load, loop = Load(producer, given.topic, given.seed), asyncio.get_running_loop()
        beside = [asyncio.create_task(load.read(consumer)), asyncio.create_task(commands(load))]
        print("ready", flush=True)
        started = loop.time()
        number = 0
        while not load.enough and (number < given.requests or not given.requests):
            await asyncio.sleep(max(0.0, started + number / given.rate - loop.time()))
            load.send()
            number += 1
        await load.confirmed()
        load.arrived_at = loop.time()
        while len(load.answered & load.sent.keys()) < len(load.sent) and loop.time() < load.arrived_at + SETTLE_S:
            await asyncio.sleep(0.2)
        await load.confirmed()
        for task in beside:
            task.cancel()
        given.out.write_bytes(orjson.dumps(load.report()))


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.chaos.load", description="Publish requests, read answers.")
    parser.add_argument("--servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--answers", required=True)
    parser.add_argument("--out", type=Path, required=True, help="where the report goes")
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second")
    parser.add_argument("--requests", type=int, default=0, help="how many; 0: until `enough`")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    uvloop.run(main(parsed()))
