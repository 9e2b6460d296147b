"""Who may read: names and passwords, in the three ways ClickHouse's clients send them."""

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from agents.execution.credentials import Credentials
from infra.sql.errors import AUTHENTICATION_FAILED, SqlError
from infra.sql.roles import ANALYST, Role, parse_role
from streams.settings import SqlUser


@dataclass(frozen=True, slots=True)
class Account:
    """A reader. A password that is not empty also serves as a Bearer token."""

    password: str = field(default="", repr=False)
    role: Role = ANALYST


def accounts_of(users: Iterable[SqlUser]) -> Mapping[str, Account]:
    """The accounts of the configuration; without users anyone is an analyst. Raises ConfigurationError for a missing password."""
    keys = Credentials()
    found = {user.name: Account(keys.key(user.password), parse_role(user.role)) for user in users}
    return found or ANYONE


ANYONE: Final[Mapping[str, Account]] = {"default": Account()}


def authenticate(request: web.Request, users: Mapping[str, Account]) -> str:
    """The name of the account. Raises `SqlError` 516, in the same words for a wrong name and a wrong password."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        for name, account in users.items():
            if account.password and _same(account.password, token.strip()):
                return name
        raise _failed("token")
    name, password = _named(request, scheme.lower(), token)
    known = users.get(name)
    # The comparison runs for an unknown name too, so that its duration tells nothing.
    if not _same(known.password if known else "\0", password) or known is None:
        raise _failed(name)
    return name


def _named(request: web.Request, scheme: str, token: str) -> tuple[str, str]:
    if "X-ClickHouse-User" in request.headers or "X-ClickHouse-Key" in request.headers:
        return request.headers.get("X-ClickHouse-User", "default"), request.headers.get("X-ClickHouse-Key", "")
    if scheme == "basic":
        try:
            name, _, password = base64.b64decode(token, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _failed("unreadable") from None
        return name or "default", password
    if scheme:
        raise _failed("unknown scheme")
    return request.query.get("user") or "default", request.query.get("password", "")


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())


def _failed(name: str) -> SqlError:
    return SqlError(
        AUTHENTICATION_FAILED,
        f"{name[:60]}: Authentication failed: password is incorrect, or there is no user with such name",
    )
