"""What a webhook hears of an alert: JSON, or Slack's format; signed where a secret is given."""

import hashlib
import hmac
from html import escape
from string import punctuation
from typing import Any
from urllib.parse import quote

import orjson

from schemas.policy import Webhook
from schemas.state import AlertState, Notice
from schemas.units import MICROS_PER_S, iso

ID_HEADER = "turnout-alert-id"
SIGNATURE_HEADER = "turnout-signature"
COLOURS = {"info": "#439fe0", "warning": "#daa038", "critical": "#d00000", "emergency": "#7a0000"}
RESOLVED_COLOUR = "#2eb67d"
_SENDABLE = punctuation.replace("%", "") + " "


def notice_id(subject: str, change: int, notice: Notice) -> str:
    """kind:subject#number/change: the same whenever and by whomever it is delivered."""
    return f"{subject}#{notice.number}/{change}"


def body_of(webhook: Webhook, subject: str, change: int, notice: Notice, state: AlertState) -> bytes:
    """The call's body. `subject`: kind:subject of the alert."""
    document = {
        "id": notice_id(subject, change, notice),
        "alert": f"{subject}#{notice.number}",
        "change": notice.change,
        "severity": notice.severity,
        "kind": state.kind,
        "subject": state.subject,
        "text": notice.text,
        "at": iso(notice.at),
    }
    return orjson.dumps(_slack(document) if webhook.format == "slack" else document)


def _slack(document: dict[str, Any]) -> dict[str, Any]:
    """A message of incoming webhooks: text for notifications, an attachment for its colour and fields."""
    severity, change = document["severity"], document["change"]
    fields = [
        {"title": name.capitalize(), "value": _plain(document[name]), "short": True}
        for name in ("alert", "severity", "at")
    ]
    colour = RESOLVED_COLOUR if change == "resolved" else COLOURS[severity]
    told = _plain(document["text"])
    return {
        "text": f"{severity.upper()} {change}: {told}",
        "attachments": [{"color": colour, "fallback": told, "fields": fields}],
    }


def _plain(text: str) -> str:
    """As Slack asks for it: a tenant called <!channel> must not call everybody."""
    return escape(text, quote=False)


def headers_of(name: str, body: bytes, secret: str, now: int) -> dict[str, str]:
    """`name`: of the notice, percent-encoded where it is not ASCII; `secret`: empty for no signature; `now`: microseconds.

    The signature is `t=SECONDS,v1=HEX`: HMAC-SHA256 of `SECONDS.BODY`, so that a receiver may refuse an old call.
    """
    headers = {"content-type": "application/json", ID_HEADER: quote(name, safe=_SENDABLE), "user-agent": "turnout"}
    if secret:
        headers[SIGNATURE_HEADER] = signature(body, secret, now // MICROS_PER_S)
    return headers


def signature(body: bytes, secret: str, seconds: int) -> str:
    """What a receiver computes again to know that the call is ours."""
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"
