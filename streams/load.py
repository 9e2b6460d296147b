"""What workers tell each other every second: calls and tokens under way, and what they started in the last minute."""

from agents.live import Live
from schemas.snapshots import Snapshot, encode_value
from schemas.state import WorkerLoad
from streams.clock import BrokerClock
from streams.control import ControlLog
from streams.lease import Lease
from streams.partitioner import partition_of
from streams.producer import Producer
from streams.topics import Topics
from streams.view import StateView


class LoadReports:
    """Takes over the other workers' reports and publishes this one's."""

    def __init__(
        self, *, live: Live, view: StateView, control: ControlLog, clock: BrokerClock, topics: Topics, producer: Producer,
        lease: Lease, worker: str,
    ) -> None:  # fmt: skip
        self._live = live
        self._view = view
        self._control = control
        self._clock = clock
        self._topics = topics
        self._producer = producer
        self._lease = lease
        self._worker = worker

    async def exchange(self) -> None:
        """Raises LeaseLost."""
        now, live = self._clock.now(), self._live
        others = self._view.other_workers(self._worker, now)
        live.workers = 1 + len(others)
        live.calls.others_are([load.in_flight for load in others])
        live.tokens.others_are([load.tokens for load in others])
        live.responses.forget(now)
        deployments = self._control.current.configuration.catalog.deployment_by_id
        minute = live.rates.others_are([load.minute for load in others], deployments, now)
        if not self._lease.valid():
            return
        load = WorkerLoad(self._worker, now, live.calls.published(), minute, live.tokens.published())
        snapshot = Snapshot(
            kind="load", fold_version=1, subject=self._worker, topic="", partition=0, epoch=0, offset=now, logged_at=now,
            value=encode_value(load),
        )  # fmt: skip
        partition = partition_of(snapshot.key.encode(), self._topics.partitions)
        await self._producer.emit(self._topics.name("state"), snapshot, key=snapshot.key, partition=partition)
