"""How the embedded broker is set up: its properties and its log, and how Java reads a value."""

import struct
from collections.abc import Mapping

LOG4J = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""

PROPERTIES: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "num.partitions": "8",
    "message.max.bytes": "11534336",  # 11 MiB: values of 10 MB plus headers and framing
    "log.message.timestamp.type": "LogAppendTime",
    "offsets.retention.minutes": "525600",  # a year: the default forgets a group that was idle for 7 days
    "group.initial.rebalance.delay.ms": "0",
    # One node: the internal topics are small and have one replica.
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # 16 MiB hold 600,000 keys a pass; the default, 128 MiB, is a third of the heap.
    "log.cleaner.dedupe.buffer.size": "16777216",
    # After kill -9 the dead broker's session must run out first: start in 13 s with the default of 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


def escaped(value: str) -> str:
    """A value as java.util.Properties reads it: Latin-1, with backslash escapes."""
    text = value.replace("\\", "\\\\").encode("utf-16-be", "surrogatepass")
    units = struct.unpack(f">{len(text) // 2}H", text)
    return "".join(chr(unit) if 32 <= unit < 127 else f"\\u{unit:04x}" for unit in units)
