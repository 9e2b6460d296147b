"""Several embedded brokers as one cluster on one machine, every one a voter of its quorum."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.kafka import EmbeddedKafka, new_cluster_id
from infra.ports import HOST, free_port

HEAP_MB = 320


class EmbeddedCluster:
    """Owns its brokers, as EmbeddedKafka owns its one.

    `kill` and `pid` mean the broker whose turn it is; after a kill it is the next one's.
    """

    def __init__(self, data: Path, brokers: int, *, properties: Mapping[str, str], logs: Path) -> None:
        """`data` and `logs`: folders, created if missing. Internal topics have a replica on every broker."""
        controllers = {node: free_port() for node in range(1, brokers + 1)}
        cluster_id = new_cluster_id()
        replicas = str(brokers)
        own = dict(properties) | {
            "controller.quorum.voters": ",".join(f"{node}@{HOST}:{port}" for node, port in controllers.items()),
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
        }
        self.brokers = {
            node: EmbeddedKafka(
                data / f"broker-{node}", port=free_port(), controller_port=port, heap_mb=HEAP_MB,
                properties=own | {"node.id": str(node)}, log=logs / f"broker-{node}.log", cluster_id=cluster_id,
            )
            for node, port in controllers.items()
        }  # fmt: skip
        self._turn = 1

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(broker.bootstrap_servers for broker in self.brokers.values())

    @property
    def pid(self) -> int:
        """Of the broker whose turn it is."""
        return self.brokers[self._turn].pid

    @property
    def running(self) -> bool:
        return all(broker.running for broker in self.brokers.values())

    def start(self, timeout_s: float = 60) -> None:
        """Start those that do not run and return when they answer. Raises KafkaStartError; the others go on."""
        waiting = [broker for broker in self.brokers.values() if not broker.running]
        # A broker answers only once a majority of the voters runs.
        with ThreadPoolExecutor(len(self.brokers)) as starting:
            for started in [starting.submit(broker.start, timeout_s) for broker in waiting]:
                started.result()

    def stop(self, timeout_s: float = 10) -> None:
        """End them all, at once: the last ones would wait for a quorum to let them go."""
        with ThreadPoolExecutor(len(self.brokers)) as ending:
            for ended in [ending.submit(broker.stop, timeout_s) for broker in self.brokers.values()]:
                ended.result()

    def kill(self) -> None:
        """SIGKILL of the one whose turn it is."""
        self.brokers[self._turn].kill()
        self._turn = self._turn % len(self.brokers) + 1
