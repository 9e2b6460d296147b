"""Circuits held closed, so that a measurement goes on meeting the failures that it is about."""

from collections.abc import Sequence

from schemas.events import CircuitForced, Event
from streams.apply import publish_control
from streams.clock import BrokerClock
from streams.codecs import codec_of
from streams.settings import Settings


async def hold_closed(settings: Settings, deployments: Sequence[str]) -> None:
    """As `turnout set circuit DEPLOYMENT closed` for each of them."""
    codec, clock = await codec_of(settings.kafka), BrokerClock()
    events: list[Event] = [
        CircuitForced(
            event_id=f"bench/{name}", occurred_at=clock.now(), worker="bench", deployment=name, position="closed",
            author="bench",
        )
        for name in deployments
    ]  # fmt: skip
    await publish_control(settings, codec, clock, events)
