"""What the sink makes of a record: a block of the container that its batch is written as."""

from hashlib import sha256

import structlog
from aiokafka import ConsumerRecord

from projections.clickhouse.container import Block, Passing, block_of
from projections.clickhouse.rows import DeadLetter, IngestError, Recorded, Tombstone, row_of
from schemas.codec import Codec
from schemas.feedback import read_feedback
from streams.topics import EVENT_KINDS, Topics

log = structlog.get_logger()
SINK_KINDS = (*EVENT_KINDS, "state", "control", "feedback", "dead-letters")


class Recorder:
    """Never raises for what stands in a record: what cannot be read becomes a row of `ingest_errors`."""

    def __init__(self, topics: Topics, codec: Codec) -> None:
        self._kinds = {topics.name(kind): kind for kind in SINK_KINDS}
        self._codec = codec
        self._passing = Passing(codec)

    def blocks(self, records: list[ConsumerRecord]) -> list[Block]:
        """What ClickHouse should decode as it was written, all else as rows. It refuses all where one is damaged."""
        return [self._passed(record) or self._row(record) for record in records]

    def rows(self, records: list[ConsumerRecord]) -> list[Block]:
        """All as rows, decoded here."""
        return [self._row(record) for record in records]

    def _passed(self, record: ConsumerRecord) -> Block | None:
        kind = self._kinds[record.topic]
        if kind not in EVENT_KINDS or record.value is None:
            return None
        place = record.topic, record.partition, record.offset, record.timestamp * 1000
        return self._passing.block(kind, *place, record.value)

    def _row(self, record: ConsumerRecord) -> Block:
        kind = self._kinds[record.topic]
        place = record.topic, record.partition, record.offset, record.timestamp * 1000
        try:
            return block_of(row_of(kind, *place, self._recorded(kind, record)))
        except Exception as error:
            # Anything may stand in a topic: named by class, for the text of an error may quote bytes.
            log.warning("record unreadable", topic=record.topic, partition=record.partition, offset=record.offset)
            value = record.value or b""
            trouble = IngestError(type(error).__name__, len(value), sha256(value).hexdigest())
            return block_of(row_of(kind, *place, trouble))

    def _recorded(self, kind: str, record: ConsumerRecord) -> Recorded:
        if record.value is None and kind == "state":
            return Tombstone.parse(record.key.decode())
        if kind == "dead-letters":
            return DeadLetter.parse(record.value, record.timestamp * 1000)
        if kind == "feedback":
            position = f"{record.topic}-{record.partition}-{record.offset}"
            return read_feedback(record.value, self._codec, position, record.timestamp * 1000)
        return self._codec.newest(record.value or b"")
