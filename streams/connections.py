"""aiokafka's connections on uvloop: one that its peer reset fails as a connection does, and one that asks before it writes.

uvloop raises RuntimeError for a write to a transport that is closed already, where asyncio's own loop drops it; aiokafka
expects OSError alone (its issue 1038). In the moment between a reset and its news that ended the task that looks after
the metadata, without a word, and whoever waits for metadata waited for ever (infra/adr/0019).
"""

from collections.abc import Callable
from typing import Any

import aiokafka.conn
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError


class MayNotWrite(KafkaError):  # type: ignore[misc]
    """Nothing of the request was sent: its `may_write` said no."""

    retriable = True


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection that asks a request which has a `may_write` (a function without arguments), and then writes it at once.

    `send` raises MayNotWrite where the answer is no, KafkaConnectionError where the peer has gone, and nothing else.
    """

    def send(self, request: Any, expect_response: bool = True) -> Any:
        may_write: Callable[[], bool] | None = getattr(request, "may_write", None)
        if may_write is not None and not may_write():
            raise MayNotWrite
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error


# create_conn() makes what stands under this name.
aiokafka.conn.AIOKafkaConnection = Connection
