"""Which partition a key goes to: Kafka's default, so that any client's records of a key meet ours."""

from functools import lru_cache

from aiokafka.partitioner import murmur2


# aiokafka's murmur2 is plain Python: 10 us for a deployment's id, four times a request.
@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key by murmur2, as Java's and aiokafka's default partitioners choose it."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
