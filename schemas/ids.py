"""Identifiers. A `Source` names the record a request came from; it is the identity of a request in the log."""

from dataclasses import dataclass
from typing import NewType

DeploymentId = NewType("DeploymentId", str)
ModelId = NewType("ModelId", str)
TenantId = NewType("TenantId", str)
RequestId = NewType("RequestId", str)
WorkerId = NewType("WorkerId", str)

DEFAULT_TENANT = TenantId("default")
"""The tenant of a request that names none."""
SYSTEM_TENANT = TenantId("turnout")
"""The tenant that probes are charged to."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a request stands: topic, partition and offset of its record."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Source":
        """The inverse of `str`; raises ValueError when the text is no source."""
        topic, partition, offset = text.rsplit("-", 2)
        return cls(topic, int(partition), int(offset))
