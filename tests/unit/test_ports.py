"""Ports that are given out: none twice, none that somebody listens on."""

import socket

import pytest

from infra.kafka_jars import KafkaStartError
from infra.ports import ABOVE, HOST, LOWEST, free_port, is_free, require_free


def test_no_port_is_given_twice() -> None:
    """A stack asks for all its ports before it binds the first one: by chance alone 500 would hold a pair."""
    ports = [free_port() for _ in range(500)]
    assert len(set(ports)) == 500
    assert all(LOWEST <= port < ABOVE for port in ports)


def test_neighbours_are_given_together() -> None:
    first = [free_port(neighbours=2) for _ in range(100)]
    ports = [port + more for port in first for more in range(3)] + [free_port() for _ in range(100)]
    assert len(set(ports)) == 400
    assert max(ports) < ABOVE


def test_a_port_with_a_listener_is_not_free() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(KafkaStartError, match=f"Port {port} on {HOST} is in use"):
            require_free(port)
