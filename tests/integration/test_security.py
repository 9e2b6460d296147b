"""A broker that asks who we are: the loop over SASL_SSL and over SSL with certificates, and what is told to who stays out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from loop import Bench, catalog, chat, prepared, running, settings_for

from infra.kafka import EmbeddedKafka
from infra.ports import HOST, free_port
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from schemas.errors import ConfigurationError, OperationError
from streams.access import Access, KafkaSecurity
from streams.client import TurnoutClient

PASSWORD = "correct-horse"
LOGIN = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_turnout="{PASSWORD}";'


@dataclass(frozen=True)
class Secured:
    """A broker with three doors: plain for the tests' own eyes, SASL over TLS, and TLS with certificates on both sides."""

    plain: str
    sasl: str
    mutual: str
    folder: Path

    def file(self, name: str) -> str:
        return str(self.folder / name)


def _as_java_reads(key: bytes) -> bytes:
    """A private key in PKCS #8."""
    read = load_pem_private_key(key, None)
    return read.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert(HOST)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    (folder / "broker.pem").write_bytes(_as_java_reads(issued.private_key_pem.bytes()) + chain)
    own = authority.issue_cert("turnout@example.org")
    own.private_key_pem.write_to_path(folder / "own.key")
    own.cert_chain_pems[0].write_to_path(folder / "own.pem")
    plain, sasl, mutual, controller = (free_port() for _ in range(4))
    doors = f"PLAINTEXT://{HOST}:{plain},LOGIN://{HOST}:{sasl},MUTUAL://{HOST}:{mutual}"
    properties = {
        "listeners": f"{doors},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": doors,
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LOGIN:SASL_SSL,MUTUAL:SSL",
        "listener.name.login.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.login.plain.sasl.jaas.config": LOGIN,
        "listener.name.mutual.ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
    }
    with EmbeddedKafka(folder / "kafka", port=plain, controller_port=controller, properties=properties):
        yield Secured(f"{HOST}:{plain}", f"{HOST}:{sasl}", f"{HOST}:{mutual}", folder)


def logging_in(broker: Secured) -> dict[str, Any]:
    return {
        "bootstrap_servers": broker.sasl,
        "security": {
            "protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "turnout", "password": "env:SECURED_PASSWORD",
            "ca_file": broker.file("ca.pem"),
        },
    }  # fmt: skip


def with_certificates(broker: Secured) -> dict[str, Any]:
    return {
        "bootstrap_servers": broker.mutual,
        "security": {
            "protocol": "SSL", "ca_file": broker.file("ca.pem"), "cert_file": broker.file("own.pem"),
            "key_file": broker.file("own.key"),
        },
    }  # fmt: skip


@pytest.mark.parametrize("entered", [logging_in, with_certificates], ids=["SASL_SSL", "SSL"])
async def test_the_whole_loop_over_a_secured_door(
    broker: Secured, prefix: str, monkeypatch: pytest.MonkeyPatch, entered: Any
) -> None:
    monkeypatch.setenv("SECURED_PASSWORD", PASSWORD)
    async with await start_simulators({"a": ProviderScript(latency_ms=5)}) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        settings = await prepared(
            settings_for(broker.plain, prefix, catalog(base, {"a": "primary"}), kafka=entered(broker))
        )
        assert settings.kafka.access.servers != broker.plain
        async with running(settings), TurnoutClient(settings.kafka.access, prefix) as client:
            answer = await client.chat(chat())
        # What stands on the topics is seen through the plain door.
        seen = settings.model_copy(
            update={"kafka": settings_for(broker.plain, prefix, catalog(base, {"a": "primary"})).kafka}
        )
        async with Bench(seen) as bench:
            completed = [
                event for event in await bench.events("decisions") if type(event).__name__ == "RequestCompleted"
            ]
    assert answer["routing"]["status"] == "ok"
    assert len(completed) == 1


async def test_a_wrong_password_is_told_in_a_sentence(
    broker: Secured, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURED_PASSWORD", "wrong")
    settings = settings_for(broker.plain, prefix, catalog("http://127.0.0.1:1/{name}", {}), kafka=logging_in(broker))
    with pytest.raises(OperationError, match=r"lets us in by SASL_SSL.*kafka\.security") as refused:
        await prepared(settings)
    assert "wrong" not in str(refused.value)


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECURED_PASSWORD", raising=False)
    login = {"protocol": "SASL_PLAINTEXT", "username": "turnout", "password": "env:SECURED_PASSWORD"}
    with pytest.raises(ConfigurationError, match="SECURED_PASSWORD"):
        _ = Access("127.0.0.1:1", KafkaSecurity.model_validate(login)).authentication
    missing = tmp_path / "ca.pem"
    with pytest.raises(ConfigurationError, match=str(missing)):
        _ = Access("127.0.0.1:1", KafkaSecurity(protocol="SSL", ca_file=str(missing))).authentication


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"protocol": "SASL_SSL"}, "needs a username and a password"),
        ({"protocol": "SSL", "username": "a", "password": "env:A"}, "sends no username"),
        ({"ca_file": "ca.pem"}, "uses no certificates"),
        ({"protocol": "SSL", "cert_file": "own.pem"}, "belong together"),
        ({"protocol": "SASL_SSL", "username": "a", "password": "secret"}, "env:NAME"),
    ],
)
def test_half_a_security_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        KafkaSecurity.model_validate(given)
