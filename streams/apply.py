"""Publishing to llm.control: a whole configuration, or a single command. Every change is kept for ever."""

import asyncio
import getpass
from typing import Any

import orjson
import structlog
from aiokafka.errors import MessageSizeTooLargeError
from pydantic import ValidationError

from schemas.codec import Codec, event_of
from schemas.errors import ConfigurationError
from schemas.events import (
    AlertSilenced,
    BudgetSet,
    CircuitForced,
    ConfigurationApplied,
    CredentialReleased,
    DeploymentSwitched,
    Event,
    StrategySet,
    TopicsCreated,
    WeightsSet,
)
from schemas.inforce import InForce, apply_control, digest_of, document_of
from streams.clock import BrokerClock
from streams.control import ControlLog
from streams.producer import Producer
from streams.settings import Settings
from streams.topics import topics_of

log = structlog.get_logger()


def author() -> str:
    """Who changes what is in force: the user of this machine."""
    try:
        # A name of another encoding keeps its readable letters.
        return getpass.getuser().encode("utf-8", "replace").decode()
    except (KeyError, OSError):
        return "unknown"


def configuration_event(settings: Settings, now: int) -> ConfigurationApplied:
    document = document_of(settings.configuration)
    digest = digest_of(document)
    return ConfigurationApplied(
        event_id=f"configuration/{digest[:12]}/{now}", occurred_at=now, worker="", document=document, digest=digest,
        author=author(),
    )  # fmt: skip


async def publish_control(settings: Settings, codec: Codec, clock: BrokerClock, events: list[Event]) -> int:
    """Append to the control log in order; returns the offset of the last. Raises ConfigurationError and appends nothing where
    one could not be read back: the log is kept for ever, and it would stop every reader.
    """
    for event in events:
        _read_back(codec, event)
    topics = topics_of(settings)
    producer = Producer(settings.kafka.access, codec, clock)
    await producer.start()
    try:
        offset = -1
        for event in events:
            future = await producer.emit(topics.name("control"), event, key=_subject(event), partition=0)
            try:
                offset = (await future).offset
            except MessageSizeTooLargeError:
                raise ConfigurationError(
                    f"{_subject(event)} is larger than a record of {topics.name('control')} may be; raise its max.message.bytes"
                ) from None
        return offset
    finally:
        await producer.stop()


def _read_back(codec: Codec, event: Event) -> None:
    try:
        apply_control(InForce(), 0, event_of(codec.encode(event), codec))
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        problem = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
        raise ConfigurationError(
            f"{_subject(event)} cannot be published, for it could not be read: {problem}"
        ) from None
    except OverflowError:
        raise ConfigurationError(
            f"{_subject(event)} cannot be published: it holds a number of more than 64 bits"
        ) from None


def _subject(event: Event) -> str:
    """What a command is about: the key of its record."""
    match event:
        case BudgetSet():
            return f"budget:{event.scope}/{event.period}"
        case AlertSilenced():
            return f"alert:{event.subject}"
        case StrategySet():
            return f"strategy:{event.tenant}"
        case WeightsSet():
            return f"weights:{event.tenant}"
        case CircuitForced() | CredentialReleased() | DeploymentSwitched():
            return f"deployment:{event.deployment}"
        case _:
            return type(event).__name__


async def apply_if_none(settings: Settings, control: ControlLog, codec: Codec, clock: BrokerClock) -> None:
    """A worker that finds nothing applied applies its own file; one whose file differs says so and uses the log."""
    inforce = control.current
    if inforce.applied:
        if inforce.digest != digest_of(document_of(settings.configuration)):
            changed = ", ".join(sorted(changes(inforce, settings))) or "nothing but its form"
            log.warning("the file differs from what is in force", changed=changed, use="`turnout apply` to publish it")
        return
    event = configuration_event(settings, clock.now())
    offset = await publish_control(settings, codec, clock, [event])
    async with asyncio.timeout(30):
        await control.reached(offset)
    log.info("configuration applied", offset=offset, digest=event.digest[:12])


def topics_event(settings: Settings, now: int) -> TopicsCreated:
    kafka = settings.kafka
    return TopicsCreated(
        event_id=f"topics/{kafka.topic_prefix}/{now}", occurred_at=now, worker="", topic_prefix=kafka.topic_prefix,
        partitions=kafka.partitions,
    )  # fmt: skip


def changes(inforce: InForce, settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (in force, in the file), for every value that differs."""
    before = flatten(orjson.loads(document_of(inforce.configuration)))
    after = flatten(orjson.loads(document_of(settings.configuration)))
    return {
        key: (before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }


def flatten(node: Any, path: str = "") -> dict[str, Any]:
    """A document as dotted keys; items of a list that have an id are named by it."""
    if isinstance(node, dict) and node:
        return {
            key: value
            for name, item in node.items()
            for key, value in flatten(item, f"{path}.{name}" if path else str(name)).items()
        }
    if isinstance(node, list) and node:
        return {
            key: value
            for index, item in enumerate(node)
            for key, value in flatten(
                item, f"{path}[{item.get('id', index) if isinstance(item, dict) else index}]"
            ).items()
        }
    return {path: node}
