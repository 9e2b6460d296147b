"""The logs of control and state, read once to their present end."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

    from schemas.codec import Codec
    from streams.control import ControlLog
    from streams.settings import Settings
    from streams.view import StateView


async def read_control(consumer: "AIOKafkaConsumer", settings: "Settings", codec: "Codec") -> "ControlLog":
    """Every state of the control log. Raises OperationError when the topic does not exist."""
    from streams.control import ControlLog
    from streams.reader import partitions_of, read_to_end

    control = ControlLog()
    partitions = await partitions_of(consumer, f"{settings.kafka.topic_prefix}control")
    async for record in read_to_end(consumer, partitions):
        control.take(record.offset, record.value, codec)
    return control


async def read_state(consumer: "AIOKafkaConsumer", settings: "Settings", codec: "Codec") -> "StateView":
    """The newest snapshots. Raises OperationError when the topic does not exist."""
    from streams.reader import partitions_of, read_to_end
    from streams.view import StateView

    view = StateView()
    partitions = await partitions_of(consumer, f"{settings.kafka.topic_prefix}state")
    async for record in read_to_end(consumer, partitions):
        view.take(record.key, record.value, codec)
    return view
