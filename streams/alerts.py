"""Alerts delivered to webhooks, by the owner of the partition of llm.transitions that holds them.

What is to be delivered stands in the fold's state, and a delivery is an event that takes it out again. So a restart goes on
with what nobody heard, and calls once more at worst: at least once, with a stable id.
"""

import asyncio
import hashlib
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import orjson
import structlog
from faust.types import TP

from agents.execution.credentials import Credentials
from projections.partition import PartitionProjection
from schemas.errors import ConfigurationError, LeaseLost
from schemas.events import AlertDelivered
from schemas.policy import Webhook
from schemas.state import AlertState, Notice
from streams.clock import BrokerClock
from streams.eventlog import acknowledged
from streams.owned import Owned
from streams.producer import Producer
from streams.projector import Projector
from streams.topics import Topics
from streams.webhooks import body_of, headers_of, notice_id

log = structlog.get_logger()
BACKOFF_S = 1.0
MAX_BACKOFF_S = 60.0
CALLS_AT_ONCE = 16
Key = tuple[str, int, int, str]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A change of an alert for one webhook. `webhook` is None where no such one is in force any more."""

    owned: Owned
    subject: str
    change: int
    notice: Notice
    state: AlertState
    name: str
    webhook: Webhook | None

    @property
    def key(self) -> Key:
        """Of an ownership: a new owner starts to count anew."""
        return (
            f"{self.owned.tp.topic}-{self.owned.tp.partition}/{self.subject}",
            self.owned.epoch,
            self.change,
            self.name,
        )


@dataclass(slots=True)
class Trial:
    """What became of a delivery so far. `status`: the last HTTP status, 0 without an answer."""

    attempts: int = 0
    due: float = 0.0
    status: int = 0
    running: bool = False
    ended: bool = False


class AlertDelivery:
    """Owns the HTTP client and the trials of deliveries that the fold still lists as pending."""

    def __init__(
        self, *, projector: Projector, producer: Producer, topics: Topics, clock: BrokerClock, credentials: Credentials,
        worker: str, tls: ssl.SSLContext,
    ) -> None:  # fmt: skip
        self._projector = projector
        self._producer = producer
        self._topics = topics
        self._clock = clock
        self._credentials = credentials
        self._worker = worker
        # Without the environment's proxies, and without redirects: a signed call goes where the configuration says.
        self._client = httpx.AsyncClient(verify=tls, trust_env=False, follow_redirects=False)
        self._trials: dict[Key, Trial] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[TP, tuple[PartitionProjection, int, list[str]]] = {}

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    async def deliver_due(self) -> None:
        """Begin what is due; returns at once."""
        pending = {delivery.key: delivery for delivery in self._pending()}
        self._trials = {key: trial for key, trial in self._trials.items() if key in pending or trial.running}
        for key, delivery in pending.items():
            trial = self._trials.setdefault(key, Trial())
            if trial.running or trial.ended or trial.due > time.monotonic() or len(self._tasks) >= CALLS_AT_ONCE:
                continue
            trial.running = True
            task = asyncio.create_task(self._deliver(delivery, trial))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _pending(self) -> Iterator[Delivery]:
        """For each webhook the oldest change of each alert: the next one waits, so that changes come in order."""
        if not self._projector.lease.valid():
            return
        for owned in list(self._projector.owned.values()):
            if owned.kind != "transitions" or not owned.caught_up:
                continue
            hooks = {hook.name: hook for hook in owned.projection.inforce.configuration.alerts.webhooks}
            for subject in self._to_tell(owned):
                state: AlertState = owned.projection.snapshot("alert", subject)
                begun: set[str] = set()
                for change, notice in sorted(state.pending.items()):
                    for name in notice.webhooks:
                        if name not in begun:
                            begun.add(name)
                            yield Delivery(owned, subject, change, notice, state, name, hooks.get(name))

    def _to_tell(self, owned: Owned) -> list[str]:
        """Subjects of alerts with changes that a webhook waits for: of thousands a few, so they are looked for once a record."""
        projection, known = owned.projection, self._waiting.get(owned.tp)
        if known is None or known[0] is not projection or known[1] != projection.covered:
            found = [each for each in projection.subjects("alert") if projection.snapshot("alert", each).pending]
            known = self._waiting[owned.tp] = projection, projection.covered, found
        return known[2]

    async def _deliver(self, delivery: Delivery, trial: Trial) -> None:
        try:
            if delivery.webhook is None:
                await self._end(delivery, trial, "dropped")
                return
            reason = await self._call(delivery, delivery.webhook, trial)
            if not reason:
                await self._end(delivery, trial, "delivered")
            elif trial.attempts >= delivery.webhook.max_attempts:
                log.error("alert not delivered", alert=delivery.subject, webhook=delivery.name, reason=reason)
                await self._bury(delivery, reason)
                await self._end(delivery, trial, "dead_lettered")
            else:
                trial.due = time.monotonic() + min(MAX_BACKOFF_S, BACKOFF_S * 2 ** (trial.attempts - 1))
                log.warning("alert delivery failed", alert=delivery.subject, webhook=delivery.name, reason=reason,
                            attempts=trial.attempts)  # fmt: skip
        except LeaseLost:
            # Whoever owns the partition now reads in its state that this is still to do.
            log.warning("alert delivery not recorded", alert=delivery.subject, reason="lease lost")
        finally:
            trial.running = False

    async def _call(self, delivery: Delivery, webhook: Webhook, trial: Trial) -> str:
        """Call the webhook once; why it failed, empty when it heard."""
        trial.attempts += 1
        trial.status = 0
        body = body_of(webhook, delivery.subject, delivery.change, delivery.notice, delivery.state)
        name = notice_id(delivery.subject, delivery.change, delivery.notice)
        try:
            headers = headers_of(name, body, self._credentials.key(webhook.secret), self._clock.now())
            answer = await self._client.post(webhook.url, content=body, headers=headers, timeout=webhook.timeout_s)
        except ConfigurationError as error:
            return str(error)
        except Exception as error:
            # Whatever it is counts as a call: it would be tried for ever. The class only: a URL of Slack is a secret.
            return type(error).__name__
        trial.status = answer.status_code
        return "" if answer.is_success else f"HTTP {answer.status_code}"

    async def _end(self, delivery: Delivery, trial: Trial, outcome: str) -> None:
        now, notice, tp = self._clock.now(), delivery.notice, delivery.owned.tp
        position = f"{tp.topic}-{tp.partition}-{notice.offset}"
        event = AlertDelivered(
            event_id=f"{notice_id(delivery.subject, delivery.change, notice)}/{delivery.name}/{outcome}", occurred_at=now,
            worker=self._worker, subject=delivery.state.subject, derived_from=position, logged_at=now,
            alert=f"{delivery.subject}#{notice.number}", kind=delivery.state.kind, change=delivery.change,
            webhook=delivery.name, outcome=outcome, attempts=trial.attempts, http_status=trial.status,
        )  # fmt: skip
        await acknowledged([await self._producer.emit(tp.topic, event, key=event.subject, partition=tp.partition)])
        trial.ended = True

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        """A dead letter that names the event of the change, where its text stands."""
        webhook, tp = delivery.webhook, delivery.owned.tp
        assert webhook is not None
        body = body_of(webhook, delivery.subject, delivery.change, delivery.notice, delivery.state)
        letter = {
            "reason": f"webhook {delivery.name}: {reason}",
            "source": {"topic": tp.topic, "partition": tp.partition, "offset": delivery.notice.offset},
            "length": len(body),
            "hash": hashlib.sha256(body).hexdigest(),
            "request_id": "",
        }
        key = delivery.subject.encode()
        await acknowledged([
            await self._producer.send(self._topics.name("dead-letters"), orjson.dumps(letter), key=key)
        ])  # fmt: skip
