"""The embedded broker, as its users meet it: real processes, real records."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import ConsumerRecord

from infra.kafka import EmbeddedKafka
from infra.kafka_jars import KafkaStartError
from infra.ports import free_port
from infra.tether import runs_with

ROOT = Path(__file__).resolve().parents[2]
LOG_APPEND_TIME = 1
# The broker is started in a thread that ends at once: the tie is to the process, not to that thread.
OWNER = """
import asyncio, sys
from pathlib import Path
from infra.kafka import EmbeddedKafka
broker = EmbeddedKafka(Path(sys.argv[1]), port=int(sys.argv[2]))
asyncio.run(asyncio.to_thread(broker.start))
print(broker.pid, broker.running, flush=True)
sys.stdin.read()
"""


async def create(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def publish(bootstrap: str, topic: str, values: list[bytes], timestamp_ms: int | None = None) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, max_request_size=11_000_000
    )
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, timestamp_ms=timestamp_ms)
    finally:
        await producer.stop()


async def read(bootstrap: str, topic: str, count: int) -> list["ConsumerRecord[bytes, bytes]"]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


async def until_state(pid: int, state: str) -> None:
    """Wait until the kernel reports this state of the process: T is stopped."""
    async with asyncio.timeout(30):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
            await asyncio.sleep(0.01)


def own_broker(folder: Path) -> EmbeddedKafka:
    return EmbeddedKafka(folder / "broker", port=free_port())


async def test_records_come_back_in_order(kafka: EmbeddedKafka, prefix: str) -> None:
    topic = prefix + "records"
    await create(kafka.bootstrap_servers, topic)
    await publish(kafka.bootstrap_servers, topic, [b"one", b"two"])
    assert [record.value for record in await read(kafka.bootstrap_servers, topic, 2)] == [b"one", b"two"]


async def test_a_record_carries_the_brokers_time(kafka: EmbeddedKafka, prefix: str) -> None:
    topic = prefix + "time"
    await create(kafka.bootstrap_servers, topic)
    before_ms = time.time_ns() // 1_000_000
    await publish(kafka.bootstrap_servers, topic, [b"x"], timestamp_ms=1000)
    [record] = await read(kafka.bootstrap_servers, topic, 1)
    assert record.timestamp_type == LOG_APPEND_TIME
    assert record.timestamp >= before_ms


async def test_a_value_of_ten_megabytes_passes(kafka: EmbeddedKafka, prefix: str) -> None:
    topic = prefix + "large"
    await create(kafka.bootstrap_servers, topic)
    value = os.urandom(10_000_000)
    await publish(kafka.bootstrap_servers, topic, [value])
    [record] = await read(kafka.bootstrap_servers, topic, 1)
    assert record.value == value


async def test_data_survive_kill_minus_nine(tmp_path: Path) -> None:
    with own_broker(tmp_path) as broker:
        await create(broker.bootstrap_servers, "kept")
        await publish(broker.bootstrap_servers, "kept", [b"one", b"two"])
        first = broker.pid
        broker.kill()
        assert not broker.running
        await asyncio.to_thread(broker.start)
        assert broker.pid != first
        assert [record.value for record in await read(broker.bootstrap_servers, "kept", 2)] == [b"one", b"two"]


async def test_its_folder_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    folder = tmp_path / "büro #1 100%"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with own_broker(folder) as broker:
        await create(broker.bootstrap_servers, "kept")
        await publish(broker.bootstrap_servers, "kept", [b"one"])
        assert [record.value for record in await read(broker.bootstrap_servers, "kept", 1)] == [b"one"]


async def test_a_paused_broker_answers_after_resume_and_can_be_stopped_while_paused(tmp_path: Path) -> None:
    with own_broker(tmp_path) as broker:
        await create(broker.bootstrap_servers, "frozen")
        broker.pause()
        await until_state(broker.pid, "T")
        sending = asyncio.create_task(publish(broker.bootstrap_servers, "frozen", [b"late"]))
        broker.resume()
        await sending
        broker.pause()
        broker.stop()
        assert not broker.running


def test_a_port_in_use_is_named(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    with pytest.raises(KafkaStartError, match=rf"^Port {kafka.port} on 127\.0\.0\.1 is in use: .*another port\.$"):
        EmbeddedKafka(tmp_path, port=kafka.port).start()


def test_data_in_use_are_named(kafka: EmbeddedKafka) -> None:
    with pytest.raises(KafkaStartError, match=f"in use by process {kafka.pid}"):
        EmbeddedKafka(kafka.data, port=free_port()).start()
    assert kafka.running


def test_a_broker_that_dies_at_its_start_gives_its_reason_and_its_log(tmp_path: Path) -> None:
    broker = EmbeddedKafka(tmp_path, port=free_port(), properties={"num.partitions": "many"})
    with pytest.raises(KafkaStartError, match=r"num\.partitions") as failure:
        broker.start()
    assert str(broker.log) in str(failure.value)
    assert not broker.running


def test_a_broker_ends_with_its_killed_owner_and_starts_again_at_once(tmp_path: Path) -> None:
    port = free_port()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), str(port)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    pid = 0
    try:
        assert owner.stdin is not None
        assert owner.stdout is not None
        pid_text, alive = owner.stdout.readline().split()
        pid = int(pid_text)
        assert alive == "True"
        assert runs_with(pid, tmp_path / "server.properties")
        owner.kill()
        owner.wait()
        with EmbeddedKafka(tmp_path, port=port) as broker:
            assert broker.pid != pid
            assert not runs_with(pid, tmp_path / "server.properties")
    finally:
        owner.kill()
        owner.communicate()
        if pid and runs_with(pid, tmp_path / "server.properties"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
