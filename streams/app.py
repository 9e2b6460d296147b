"""A Faust app with the safe consumer, and what it asks of whoever owns its partitions."""

import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.access import Cluster, client_options
from streams.consumer import DirectRecord, SafeConsumer
from streams.lease import Lease


class Ownership(Protocol):
    """What an app does when partitions come and go."""

    lease: Lease
    drain_s: float

    async def assigned(self, positions: Mapping[TP, int]) -> Mapping[TP, int]:
        """Partitions are ours from `positions` on; returns where to read on instead. No record flows before it returns."""
        ...

    async def revoked(self, partitions: set[TP]) -> None:
        """The drain is over and the partitions leave."""
        ...


class OpenProducer(driver.Producer):  # type: ignore[misc]
    """The producer that Faust starts for every app. We write through our own; it must be let in all the same."""

    def _settings_auth(self) -> dict[str, Any]:
        return client_options(self.app.cluster)


class SafeApp(faust.App):  # type: ignore[misc]
    """A Faust app with the safe consumer. `ownership` and `on_failure` are set before it starts.

    `gather_s`: how long records may wait for company. `direct`: takes the records, one after the other, in place of
    Faust's streams, which serve many at a time for 0.3 ms each.
    """

    gather_s = 0.0
    cluster: Cluster
    direct: Callable[[DirectRecord], Awaitable[None]] | None = None
    ownership: Ownership
    on_failure: Callable[[BaseException], None]

    async def crash(self, reason: BaseException) -> None:
        """Whoever runs the app learns why it ended."""
        self.on_failure(reason)
        await super().crash(reason)

    def _new_transport(self) -> Any:
        transport = super()._new_transport()
        transport.Consumer = SafeConsumer
        transport.Producer = OpenProducer
        return transport


def safe_app(name: str, cluster: Cluster, *, session_timeout_s: float, rebalance_timeout_s: float) -> SafeApp:
    """A Faust app with what its measured traps demand."""
    servers = ";".join(f"kafka://{server.strip()}" for server in str(cluster).split(","))
    app = SafeApp(
        name,
        broker=servers,
        store="memory://",
        web_enabled=False,
        # Faust makes a folder whether it has tables or not.
        datadir=str(Path(tempfile.gettempdir()) / "turnout-faust"),
        topic_disable_leader=True,
        topic_allow_declare=False,
        key_serializer="raw",
        value_serializer="raw",
        stream_buffer_maxsize=500,
        stream_wait_empty=True,
        stream_recovery_delay=0.0,
        broker_max_poll_records=500,
        broker_max_poll_interval=86_400.0,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=max(0.3, session_timeout_s / 10),
        broker_rebalance_timeout=rebalance_timeout_s,
        broker_request_timeout=max(90.0, session_timeout_s + 1),
        broker_commit_interval=0.5,
    )
    app.cluster = cluster
    return app
