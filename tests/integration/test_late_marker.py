"""A marker that another worker wrote too late does not leave a partition without an owner: the group's word counts."""

from aiokafka import AIOKafkaProducer
from faust.types import TP
from loop import Bench, catalog, chat, prepared, running, settings_for
from processes import HeldProvider

from infra.kafka import EmbeddedKafka
from schemas.codec import Codec
from schemas.events import AssignmentStarted


async def test_a_partition_is_taken_again(kafka: EmbeddedKafka, prefix: str) -> None:
    provider = HeldProvider()
    async with provider.serving():
        settings = await prepared(
            settings_for(kafka.bootstrap_servers, prefix, catalog(provider.base_url, {"a": "primary"}))
        )
        async with Bench(settings) as bench, running(settings) as worker:
            await bench.publish(chat("before"), request_id="before")
            await bench.answer_of("before")
            topic = bench.topics.name("attempts")
            late: dict[TP, int] = {}
            producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
            await producer.start()
            for partition in range(bench.topics.partitions):
                marker = AssignmentStarted(
                    event_id=f"late-{partition}", occurred_at=1, worker="late", role="projector", topic=topic,
                    partition=partition, member="late-1", generation=1,
                )  # fmt: skip
                record = await producer.send_and_wait(topic, Codec().encode(marker), partition=partition)
                late[TP(topic, partition)] = record.offset
            await producer.stop()
            owned = worker.projector.owned

            def retaken() -> bool:
                return all(
                    tp in owned and owned[tp].epoch > offset and owned[tp].caught_up for tp, offset in late.items()
                )

            await bench.until(retaken)
            await bench.publish(chat("after"), request_id="after")
            await bench.answer_of("after")

            def folded() -> bool:
                health = worker.view.health.get("a")
                return health is not None and sum(bucket.succeeded for bucket in health.buckets) == 2

            await bench.until(folded)
