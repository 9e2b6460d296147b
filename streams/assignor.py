"""All partitions to one member: the sink's group has one writer and hot standbys."""

from collections.abc import Mapping
from typing import Any

from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)


class AllToOne(AbstractPartitionAssignor):  # type: ignore[misc]
    """An intent of the sink spans partitions, so whoever replays it must own them all."""

    name = "turnout-all-to-one"
    version = 0

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        topics = sorted({topic for metadata in members.values() for topic in metadata.subscription})
        everything = [(topic, sorted(cluster.partitions_for_topic(topic) or ())) for topic in topics]
        # Member ids begin with the client id: the sink's carries its start time, so the eldest keeps the work.
        eldest = min(members)
        return {
            member: ConsumerProtocolMemberAssignment(cls.version, everything if member == eldest else [], b"")
            for member in members
        }

    @classmethod
    def metadata(cls, topics: Any) -> Any:
        return ConsumerProtocolMemberMetadata(cls.version, list(topics), b"")

    @classmethod
    def on_assignment(cls, assignment: Any) -> None:
        """Nothing to remember."""
