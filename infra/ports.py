"""Ports on loopback for servers of our own."""

import random
import socket

from infra.kafka_jars import KafkaStartError

HOST = "127.0.0.1"


def free_port() -> int:
    """A TCP port nobody listens on, below the ephemeral range (from 32,768 on Linux).

    In that range a client that reconnects to a dead broker may connect to itself, and the broker cannot bind again.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_768), 200):
        if is_free(port):
            return port
    raise KafkaStartError("No free port was found between 20000 and 32767: stop some of the servers on this machine.")


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: TIME_WAIT is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def require_free(port: int) -> None:
    if not is_free(port):
        raise KafkaStartError(
            f"Port {port} on {HOST} is in use: stop the program that uses it (another broker?) or choose another port."
        )
