"""aiokafka's connections on uvloop: one that its peer reset fails as a connection does.

uvloop raises RuntimeError for a write to a transport that is closed already, where asyncio's own loop drops it; aiokafka
expects OSError alone (its issue 1038). In the moment between a reset and its news that ended the task that looks after
the metadata, without a word, and whoever waits for metadata waited for ever (infra/adr/0019).
"""

from typing import Any

import aiokafka.conn
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection whose `send` raises KafkaConnectionError, and nothing else, where the peer has gone."""

    def send(self, request: Any, expect_response: bool = True) -> Any:
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error


# create_conn() makes what stands under this name.
aiokafka.conn.AIOKafkaConnection = Connection
