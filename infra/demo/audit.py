"""The audit of a run, from the topics themselves: was anything lost, answered twice, or not copied to SQL?"""

from collections import Counter
from dataclasses import dataclass, field

from infra.cli.reading import read_control
from schemas.codec import Codec
from schemas.events import CircuitEvent, Event, RequestEvent
from streams.answers import header_of
from streams.control import ControlLog
from streams.reader import group_less, partitions_of, read_to_end
from streams.settings import Settings
from streams.topics import EVENT_KINDS, topics_of

AUDITED = (*EVENT_KINDS, "control")


@dataclass
class Audit:
    """What stands in the log up to `ends` (topic-partition to the offset after its last record that was read)."""

    control: ControlLog
    requests: set[str] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    ends: dict[str, int] = field(default_factory=dict)
    transitions: dict[str, CircuitEvent] = field(default_factory=dict)
    story: list[RequestEvent] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Requests without a final answer."""
        return len(self.requests - self.answers.keys())

    @property
    def answered_twice(self) -> int:
        """Requests with more than one final answer, and answers to requests that nobody sent."""
        return sum(count > 1 or source not in self.requests for source, count in self.answers.items())

    def take(self, event: Event, request_id: str) -> None:
        # The same transition written twice after a crash has one id and is one transition.
        if isinstance(event, CircuitEvent):
            self.transitions.setdefault(event.event_id, event)
        elif isinstance(event, RequestEvent) and event.request_id == request_id:
            self.story.append(event)


async def read_audit(settings: Settings, codec: Codec, request_id: str) -> Audit:
    """Read requests, answers and events to their present end. `request_id`: whose events are kept for its story."""
    topics, servers = topics_of(settings), settings.kafka.access
    async with group_less(servers) as consumer:
        audit = Audit(await read_control(consumer, settings, codec))
    for topic in topics.requests:
        async with group_less(servers) as consumer:
            async for record in read_to_end(consumer, await partitions_of(consumer, topic.responses)):
                audit.answers[header_of(record, "turnout-source") or ""] += 1
        async with group_less(servers) as consumer:
            async for record in read_to_end(consumer, await partitions_of(consumer, topic.name)):
                audit.requests.add(f"{record.topic}-{record.partition}-{record.offset}")
    for name in map(topics.name, AUDITED):
        async with group_less(servers) as consumer:
            partitions = await partitions_of(consumer, name)
            audit.ends |= {f"{name}-{partition.partition}": 0 for partition in partitions}
            async for record in read_to_end(consumer, partitions):
                audit.counts[name] += 1
                audit.ends[f"{name}-{record.partition}"] = record.offset + 1
                event = codec.decode(record.value)
                assert isinstance(event, Event), name
                audit.take(event, request_id)
    return audit
