"""The sink as a whole process: `python -m infra.bench.sink [--requests 40000] [--kills 20] [--rows 10000000] [--json FILE]`.

Kafka, `turnout sink` with the embedded engine, and this process, which writes the log and asks SQL over HTTP.

`events_per_s`: a log of --requests (7.2 events each) lies on the topics; from the first rows that SQL shows to the last.
`sink_cpu_us_per_event`: processor time of the process over the same window.
`exact`: with another database, the sink is killed with SIGKILL --kills times at seeded moments while the log is being written;
afterwards rows, places in Kafka, nano-dollars of charges and drift are compared with what was written.
`bytes_per_event`: on disk, all tables together, of a database filled up to --rows rows over the last weeks.
`query_ms_p95`: there each named question is asked --rounds times by one reader while the sink goes on writing; the slowest
question's 95th percentile, and each one's under `questions`. Not before the merges of so many rows at once are done.
"""

import argparse
import asyncio
import contextlib
import json
import math
import random
import signal
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from aiokafka import AIOKafkaProducer

from infra.bench.marks import cpu_s, machine_ms
from infra.bench.sink_log import requests_log
from infra.kafka import EmbeddedKafka
from infra.local import prepare
from infra.ports import free_port
from infra.sql.engine import Engine
from infra.supervisor import Child, turnout, wait_until
from projections.clickhouse.queries import QUESTIONS
from schemas.codec import Codec
from schemas.errors import OperationError, TurnoutError
from schemas.events import CostIncurred
from schemas.units import MICROS_PER_S
from streams.loading import load_settings
from streams.settings import Settings

PARTITIONS = 4
SPAN_S = 3_600.0
"""The log is accepted over the last hour."""
LIVE_PER_S = 100.0
"""Requests a second that are written while questions are asked and while the sink is killed."""
ALIVE_S = (3.0, 14.0)
"""How long a sink lives before it is killed: some die at their start, some while they replay what the last one left."""
MERGED_S = 600.0
"""Seconds that the merges of a filled database may take."""
APART_S = 17 * 3_600
"""A copy of the log lies so many seconds before the last one: weeks of days, no two hours alike."""


class Site:
    """A broker, and databases that sinks fill one after the other."""

    def __init__(self, folder: Path, broker: EmbeddedKafka) -> None:
        self.folder, self.broker, self.port = folder, broker, free_port()
        self.codec = Codec()

    def settings(self, name: str) -> Settings:
        """A file of its own for each database and its topics."""
        document = {
            "kafka": {
                "bootstrap_servers": self.broker.bootstrap_servers, "topic_prefix": f"{name}.", "partitions": PARTITIONS,
            },
            "sql": {"url": f"chdb:{self.folder / name}", "port": self.port},
            "worker": {"session_timeout_s": 6},
        }  # fmt: skip
        self.file(name).write_text(yaml.safe_dump(document))
        return load_settings(self.file(name))

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"

    def sink(self, name: str) -> Child:
        command = [*turnout("sink"), "--config", str(self.file(name))]
        return Child("sink", command, self.folder / f"{name}.log")

    def ask(self, sql: str, **parameters: str) -> str:
        """TSV. Raises OSError while nobody answers."""
        query = {"database": "turnout"} | {f"param_{name}": value for name, value in parameters.items()}
        url = f"http://127.0.0.1:{self.port}/?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, data=sql.encode(), timeout=60) as answer:
            return str(answer.read().decode()).strip()

    def rows(self) -> int:
        """Of the events written here; 0 while nobody answers."""
        try:
            return int(self.ask("SELECT count() FROM turnout.log WHERE topic NOT LIKE '%control'"))
        except (OSError, ValueError):
            return 0

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[Child]:
        child = self.sink(name)
        child.start()
        try:
            wait_until(lambda: bool(self._answers()), child, timeout_s=60, what="The sink")
            yield child
        finally:
            child.stop(20.0)

    def _answers(self) -> bool:
        try:
            return bool(self.ask("SELECT 1"))
        except OSError:
            return False

    async def write(
        self,
        name: str,
        requests: int,
        per_s: float = math.inf,
        seed: int = 7,
        stop: threading.Event | None = None,
        first: int = 0,
    ) -> tuple[int, int]:
        """Events and nano-dollars of certain charges that stand on the topics then. `stop` ends it before its time.

        Requests after a `first` are accepted as they are written, those before were over the last hour.
        """
        began = time.time_ns() // 1000 - (0 if first else round(SPAN_S * MICROS_PER_S))
        events, nano, pace = 0, 0, per_s if first else requests / SPAN_S
        started = time.monotonic()
        async with AIOKafkaProducer(
            bootstrap_servers=self.broker.bootstrap_servers, linger_ms=20, max_batch_size=256 * 1024
        ) as producer:
            for partition, (kind, event) in requests_log(requests, PARTITIONS, began, pace, seed, first):
                await producer.send(f"{name}.{kind}", self.codec.encode(event), partition=partition)
                events += 1
                nano += event.nano_usd if isinstance(event, CostIncurred) else 0
                ahead = events / (7.2 * per_s) - (time.monotonic() - started)
                if ahead > 0.02:
                    await asyncio.sleep(ahead)
                if stop is not None and stop.is_set():
                    break
            await producer.flush()
        return events, nano


def copied(site: Site, name: str, requests: int) -> dict[str, Any]:
    """How fast a log that is there already reaches SQL."""
    asyncio.run(prepare(site.settings(name), apply=False))
    events, _ = asyncio.run(site.write(name, requests))
    with site.running(name) as child:
        while not (first := site.rows()):
            time.sleep(0.02)
        began, cpu = time.monotonic(), cpu_s(child.pid)
        while (rows := site.rows()) < events:
            # The sink itself answers.
            time.sleep(0.25)
        took, cpu = time.monotonic() - began, cpu_s(child.pid) - cpu
    # A small log is there at the first look.
    copied_now = max(1, rows - first)
    return {
        "events": events, "events_per_s": round(copied_now / took),
        "sink_cpu_us_per_event": round(cpu / copied_now * 1e6, 1),
    }  # fmt: skip


def killed(site: Site, name: str, kills: int, seed: int) -> dict[str, Any]:
    """Whether SQL holds exactly what was written by a sink that was killed again and again meanwhile."""
    asyncio.run(prepare(site.settings(name), apply=False))
    chance, written = random.Random(seed), list[tuple[int, int]]()
    requests = round(kills * sum(ALIVE_S) / 2 * LIVE_PER_S)
    writer = threading.Thread(target=lambda: written.append(asyncio.run(site.write(name, requests, LIVE_PER_S, seed))))
    writer.start()
    for _ in range(kills):
        child = site.sink(name)
        child.start()
        time.sleep(chance.uniform(*ALIVE_S))
        child.signal(signal.SIGKILL)
        child.wait(10)
    writer.join()
    ((events, nano),) = written
    with site.running(name):
        deadline = time.monotonic() + 120
        while site.rows() < events and time.monotonic() < deadline:
            time.sleep(0.2)
        # Rows that came twice would come now.
        time.sleep(2.0)
        sql = "SELECT count(), uniqExact(topic, partition, offset) FROM turnout.log WHERE topic NOT LIKE '%control'"
        rows = [int(each) for each in site.ask(sql).split("\t")]
        charged = int(site.ask("SELECT sum(nano_usd) FROM turnout.tenant_hour"))
        drift = int(site.ask("SELECT count() FROM turnout.drift"))
    return {
        "kills": kills, "written": events, "rows": rows[0], "places": rows[1], "drift": drift,
        "exact": rows == [events, events] and charged == nano and not drift,
    }  # fmt: skip


def asked(site: Site, name: str, rows: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of the named questions over so many rows, while the sink writes."""
    with Engine(site.folder / name) as engine:
        base = int(engine.execute("SELECT count() FROM turnout.log"))
        for copy in range(1, math.ceil(rows / base)):
            off, back = copy * 10**9, f"toIntervalSecond({copy * APART_S})"
            engine.execute(
                "INSERT INTO turnout.log SELECT * REPLACE("
                f"offset + {off} AS offset, source_offset + {off} AS source_offset, logged_at - {back} AS logged_at,"
                f" occurred_at - {back} AS occurred_at, accepted_at - {back} AS accepted_at,"
                f" concat(request_id, '-{copy}') AS request_id, concat(cost_id, '-{copy}') AS cost_id)"
                f" FROM turnout.log AS l WHERE l.offset < 1000000000 SETTINGS insert_deduplicate = 0"
            )
        _merged(engine)
        held = int(engine.execute("SELECT count() FROM turnout.log"))
        disk = int(engine.execute("SELECT sum(bytes_on_disk) FROM system.parts WHERE database = 'turnout' AND active"))
    with site.running(name) as child:
        stop = threading.Event()
        live = threading.Thread(target=lambda: asyncio.run(site.write(name, 10**6, LIVE_PER_S, 11, stop, first=10**6)))
        live.start()
        try:
            # Not before it copies: a sink that starts proves its rollups against the whole log first.
            wait_until(lambda: site.rows() > held, child, timeout_s=300, what="The sink")
            figures = {question: _p95_ms(site, question, rounds) for question in QUESTIONS}
        finally:
            stop.set()
            live.join()
    return {
        "rows_asked": held, "bytes_per_event": round(disk / held, 1), "query_ms_p95": max(figures.values()), "questions": figures,
    }  # fmt: skip


def _merged(engine: Engine) -> None:
    """Wait for the merges of what was filled in within a minute: weeks of a log have theirs behind them when they are asked.

    Raises OperationError when they do not end.
    """
    deadline, quiet = time.monotonic() + MERGED_S, 0
    while quiet < 5:
        if time.monotonic() > deadline:
            raise OperationError(f"ClickHouse still merges {MERGED_S:g} s after the fill; give fewer --rows.")
        time.sleep(1.0)
        quiet = quiet + 1 if engine.execute("SELECT count() FROM system.merges").strip() == b"0" else 0


def _p95_ms(site: Site, question: str, rounds: int) -> float:
    found, took = QUESTIONS[question], []
    site.ask(found.sql, **found.parameters)
    for _ in range(rounds):
        began = time.monotonic()
        site.ask(found.sql, **found.parameters)
        took.append((time.monotonic() - began) * 1000)
    return round(sorted(took)[math.ceil(0.95 * rounds) - 1], 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, 1 when a part fails or the copy is not exact."""
    parser = argparse.ArgumentParser(prog="python -m infra.bench.sink", description="The sink as a whole process.")
    parser.add_argument(
        "--requests", type=int, default=40_000, help="requests in the log that is copied (default 40000)"
    )
    parser.add_argument("--kills", type=int, default=20, help="times the sink is killed; 0 leaves it out (default 20)")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows to ask; 0 leaves it out (default 10000000)")
    parser.add_argument("--rounds", type=int, default=60, help="times each question is asked (default 60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args(arguments)
    if given.requests < 100 or given.rounds < 1:
        parser.error("--requests must be 100 or more and --rounds 1 or more")
    results: dict[str, Any] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="turnout-sink-") as folder:
            with EmbeddedKafka(Path(folder) / "kafka", port=free_port()) as broker:
                site = Site(Path(folder), broker)
                results |= copied(site, "copied", given.requests)
                print(json.dumps(results), flush=True)
                if given.kills:
                    results |= killed(site, "killed", given.kills, seed=7)
                    print(json.dumps(results), flush=True)
                if given.rows:
                    results |= asked(site, "copied", given.rows, given.rounds)
    except TurnoutError as error:
        print(error, file=sys.stderr)
        return 1
    results["machine_ms"] = round(machine_ms(), 1)
    print(json.dumps(results, indent=2))
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0 if results.get("exact", True) else 1


if __name__ == "__main__":
    raise SystemExit(main())
