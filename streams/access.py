"""How clients reach a Kafka cluster: where its brokers are, and who we are there."""

import ssl
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from schemas.catalog import CredentialReference
from schemas.errors import ConfigurationError


class KafkaSecurity(BaseModel):
    """`protocol` as Kafka names it. SASL needs `username` and `password` (`env:NAME` or `file:PATH`).

    With SSL the broker's certificate is checked against `ca_file`, or this machine's authorities without one; `cert_file` and
    `key_file` are our own, where the broker asks for them. All are PEM.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password: CredentialReference = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    @property
    def sasl(self) -> bool:
        return self.protocol.startswith("SASL")

    @property
    def ssl(self) -> bool:
        return self.protocol.endswith("SSL")

    @model_validator(mode="after")
    def complete(self) -> Self:
        if self.sasl and not (self.username and self.password):
            raise ValueError(
                f"protocol {self.protocol} needs a username and a password; write password as env:NAME or file:PATH"
            )
        if not self.sasl and (self.username or self.password):
            raise ValueError(
                f"protocol {self.protocol} sends no username and password; set it to SASL_SSL or leave them out"
            )
        if not self.ssl and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError(
                f"protocol {self.protocol} uses no certificates; set it to SSL or SASL_SSL or leave them out"
            )
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together; write both or neither")
        return self


@dataclass(frozen=True)
class Access:
    """Brokers as `host:port,...`, and the security that they ask for."""

    servers: str
    security: KafkaSecurity = field(default_factory=KafkaSecurity)

    def __str__(self) -> str:
        return self.servers

    @cached_property
    def authentication(self) -> dict[str, Any]:
        """Of aiokafka's clients. Raises ConfigurationError where a password or a certificate cannot be read."""
        security = self.security
        options: dict[str, Any] = {"security_protocol": security.protocol}
        if security.ssl:
            options["ssl_context"] = _context(security)
        if security.sasl:
            # Not above: it brings every provider with it, and each command reads settings.
            from agents.execution.credentials import Credentials

            options["sasl_mechanism"] = security.mechanism
            options["sasl_plain_username"] = security.username
            options["sasl_plain_password"] = Credentials().key(security.password)
        return options


Cluster = str | Access
"""`host:port,...` alone means brokers that ask for nothing."""


def client_options(cluster: Cluster) -> dict[str, Any]:
    """What every aiokafka client of a cluster is made with. Raises as Access.authentication does."""
    if isinstance(cluster, str):
        return {"bootstrap_servers": cluster}
    return {"bootstrap_servers": cluster.servers} | cluster.authentication


def no_broker(cluster: Cluster) -> str:
    """The sentence for a cluster that nobody could connect to."""
    if isinstance(cluster, str) or cluster.security.protocol == "PLAINTEXT":
        return f"No Kafka broker answers at {cluster}; start one (`turnout up`) or correct kafka.bootstrap_servers."
    return (
        f"No Kafka broker at {cluster} lets us in by {cluster.security.protocol}; see whether one answers there, and correct "
        "kafka.bootstrap_servers or kafka.security."
    )


def _context(security: KafkaSecurity) -> ssl.SSLContext:
    from aiokafka.helpers import create_ssl_context

    try:
        made: ssl.SSLContext = create_ssl_context(
            cafile=security.ca_file or None, certfile=security.cert_file or None, keyfile=security.key_file or None
        )
        return made
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(file for file in (security.ca_file, security.cert_file, security.key_file) if file)
        raise ConfigurationError(f"kafka.security: {files} cannot be used ({error}); name readable PEM files") from None
