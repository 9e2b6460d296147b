"""What an operator may do to topics and groups, and a nemesis does."""

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import DeleteGroupsRequest

from schemas.errors import OperationError
from streams.topics import admin_client

NO_ERROR, NOT_FOUND, NOT_EMPTY = 0, 69, 68
TRIES, PAUSE_S = 60, 0.5


async def delete_groups(bootstrap_servers: str, groups: Sequence[str]) -> list[str]:
    """Delete consumer groups with their offsets; returns those that there were. Raises OperationError.

    A group is not empty before the broker has noticed that its last member is gone.
    """
    admin = await admin_client(bootstrap_servers)
    deleted = []
    try:
        for group in groups:
            for _ in range(TRIES):
                node = await admin.find_coordinator(group)
                # aiokafka has the request, and no call for it.
                response = await admin._send_request(DeleteGroupsRequest([group]), node)
                code = response.results[0][1]
                if code == NO_ERROR:
                    deleted.append(group)
                if code in (NO_ERROR, NOT_FOUND):
                    break
                if code != NOT_EMPTY:
                    raise OperationError(f"The broker does not delete group {group} (error {code}); see its log.")
                await asyncio.sleep(PAUSE_S)
            else:
                raise OperationError(f"Group {group} still has members; end its processes first.")
    finally:
        await admin.close()
    return deleted


async def set_topic(bootstrap_servers: str, topic: str, changes: Mapping[str, str]) -> dict[str, str]:
    """Set some of a topic's configuration; returns what stood there for these keys."""
    admin = await admin_client(bootstrap_servers)
    try:
        described = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        # The request replaces everything that was set for the topic, so that is sent along.
        entries = {entry[0]: (entry[1], entry[3]) for entry in described[0].resources[0][4]}
        own = {name: value for name, (value, default) in entries.items() if default in (1, False) and name in KEPT}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=own | dict(changes))])
    finally:
        await admin.close()
    return {name: entries[name][0] for name in changes}


KEPT = ("cleanup.policy", "segment.bytes", "segment.ms", "message.timestamp.type", "max.message.bytes", "retention.ms")
"""What streams.topics sets."""
