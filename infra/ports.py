"""Ports on loopback for servers of our own."""

import random
import socket

from infra.kafka_jars import KafkaStartError

HOST = "127.0.0.1"
LOWEST, ABOVE = 20_000, 32_768
"""Below the ephemeral range of Linux: there a client that reconnects to a dead broker may connect to itself."""

_given: set[int] = set()


def free_port(neighbours: int = 0) -> int:
    """A TCP port nobody listens on, nor on that many after it; others at each call: who asks for several binds them all later."""
    for port in random.SystemRandom().sample(range(LOWEST, ABOVE - neighbours), 400):
        asked = range(port, port + 1 + neighbours)
        if _given.isdisjoint(asked) and all(map(is_free, asked)):
            _given.update(asked)
            return port
    raise KafkaStartError(
        f"No free port was found between {LOWEST} and {ABOVE - 1}: stop some of the servers on this machine."
    )


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: TIME_WAIT is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def require_free(port: int, what: str = "port") -> None:
    """what: where the port was chosen, for the error. Raises KafkaStartError."""
    if not 0 < port < 65_536:
        raise KafkaStartError(f"There is no port {port}: choose another {what}.")
    if not is_free(port):
        raise KafkaStartError(
            f"Port {port} on {HOST} is in use: stop the program that uses it (another Turnout?) or choose another {what}."
        )
