"""The codec that settings name."""

from schemas.codec import Codec
from streams.registry import register_schemas
from streams.settings import KafkaSettings


async def codec_of(kafka: KafkaSettings) -> Codec:
    """Registers the schemas where a registry is configured. Raises OperationError when it cannot be used."""
    if kafka.schema_registry_url is None:
        return Codec(kafka.event_format)
    return Codec(kafka.event_format, await register_schemas(kafka.schema_registry_url, kafka.topic_prefix))
