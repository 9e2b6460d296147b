"""The events of a request as a story: pure, first as data, then as sentences."""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from agents.routing.decide import Decision
from agents.routing.estimates import ESTIMATE_FIELDS
from schemas.catalog import Catalog
from schemas.events import (
    AttemptAbandoned,
    AttemptEvent,
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    CostIncurred,
    RequestAccepted,
    RequestCompleted,
    RequestDeduplicated,
    RequestEvent,
    RequestRejected,
    RouteDecided,
)
from schemas.units import iso, nano_to_usd
from streams.control import ControlLog

Story = dict[str, Any]
Decided = RouteDecided | Decision


def explained(events: Iterable[RequestEvent], control: ControlLog) -> list[Story]:
    """One story for each (source, run), in the order they were accepted."""
    runs: dict[tuple[int, str, int], list[RequestEvent]] = {}
    for event in events:
        runs.setdefault((event.accepted_at, str(event.source), event.run), []).append(event)
    return [_story(runs[key], control) for key in sorted(runs)]


def estimates_of(decided: Decided) -> list[dict[str, float]]:
    """The packed float32 numbers by name, one mapping a candidate."""
    row = struct.Struct(f"<{len(ESTIMATE_FIELDS)}f")
    packed = decided.estimates
    whole = packed[: len(packed) // row.size * row.size]
    return [dict(zip(ESTIMATE_FIELDS, numbers, strict=True)) for numbers in row.iter_unpack(whole)]


def _story(events: Sequence[RequestEvent], control: ControlLog) -> Story:
    first = events[0]
    story: Story = {
        "request_id": first.request_id, "tenant": first.tenant, "source": str(first.source), "run": first.run,
        "accepted_at": iso(first.accepted_at), "trace_id": first.trace_id, "attempts": [], "cost_usd": 0.0,
    }  # fmt: skip
    attempts: dict[int, Story] = {}
    costs = {event.cost_id: event for event in events if isinstance(event, CostIncurred)}
    # A started attempt may have the same microsecond as its end.
    ordered = sorted(events, key=lambda event: (event.occurred_at, not isinstance(event, AttemptStarted)))
    for event in ordered:
        match event:
            case RequestAccepted():
                story["accepted"] = {
                    "task": event.task, "strategy": event.strategy, "priority": event.priority,
                    "estimated_tokens": [event.estimated_tokens_in, event.estimated_tokens_out],
                    "deadline_at": iso(event.deadline_at), "streaming": event.streaming,
                }  # fmt: skip
            case RouteDecided():
                story["decision"] = decision_story(event, control.upto(event.control_offset).configuration.catalog)
            case AttemptEvent():
                attempts.setdefault(event.number, {"number": event.number}).update(_attempt(event))
            case RequestRejected():
                story["rejected"] = event.code
            case RequestDeduplicated():
                story["deduplicated"] = str(event.first_source)
            case RequestCompleted():
                story["answer"] = _answer(event)
    for cost in costs.values():
        attempts.setdefault(cost.number, {"number": cost.number, "deployment": cost.deployment}).update(
            cost_usd=nano_to_usd(cost.nano_usd), certainty=cost.certainty
        )
    story["attempts"] = [attempts[number] for number in sorted(attempts)]
    story["cost_usd"] = nano_to_usd(sum(cost.nano_usd for cost in costs.values()))
    return story


def decision_story(decided: Decided, catalog: Catalog, decision_us: float | None = None) -> Story:
    """A decision as data, with names in place of indices. `decision_us`: by default what the event says."""

    def named(index: int) -> str:
        known = 0 <= index < len(catalog.deployments)
        return catalog.deployments[index].id if known else f"deployment #{index}"

    estimates = estimates_of(decided)
    candidates = []
    for place, index in enumerate(decided.candidates):
        candidate: Story = {"deployment": named(index)}
        candidate |= {"estimates": estimates[place]} if place < len(estimates) else {}
        candidate |= {"propensity": decided.propensities[place]} if place < len(decided.propensities) else {}
        candidates.append(candidate)
    excluded = []
    for item in decided.excluded:
        left_out: Story = {"deployment": named(item.index), "reason": item.reason}
        excluded.append(left_out | ({"until": iso(item.until)} if item.until else {}))
    if decision_us is None and isinstance(decided, RouteDecided):
        decision_us = decided.decision_us
    return {
        "plan": [{"deployment": step.deployment, "tier": step.tier} for step in decided.plan],
        "strategy": decided.strategy, "cost_strategy": decided.cost_strategy, "balancer": decided.balancer,
        "task": decided.task, "confidence": decided.confidence, "reasons": list(decided.reasons),
        "candidates": candidates, "excluded": excluded, "cut": decided.cut, "control_offset": decided.control_offset,
        "seed": decided.seed, "decision_us": decision_us,
    }  # fmt: skip


def _attempt(event: AttemptEvent) -> Story:
    told: Story = {"deployment": event.deployment, "provider": event.provider, "model": event.model, "tier": event.tier}
    match event:
        case AttemptStarted():
            told |= {"started_at": iso(event.occurred_at), "trial": event.trial, "outcome": "unknown"}
        case AttemptSucceeded():
            told |= {
                "outcome": "succeeded", "http_status": event.http_status, "latency_ms": event.latency_ms,
                "first_token_ms": event.first_token_ms, "tokens": [event.tokens_in, event.tokens_out],
                "finish_reason": event.finish_reason,
            }  # fmt: skip
        case AttemptFailed():
            told |= {
                "outcome": "failed", "failure": event.failure, "http_status": event.http_status,
                "latency_ms": event.latency_ms, "retry_after_ms": event.retry_after_ms,
                "next_action": event.next_action, "counts_toward_circuit": event.counts_toward_circuit,
                "billed": event.billed,
            }  # fmt: skip
        case AttemptAbandoned():
            told |= {"outcome": "abandoned", "reason": event.reason, "latency_ms": event.latency_ms}
    return told


def _answer(event: RequestCompleted) -> Story:
    return {
        "status": event.status, "code": event.code, "retryable": event.retryable, "deployment": event.deployment,
        "tier": event.tier, "attempts": event.attempts, "fallback": event.fallback,
        "latency_ms": {
            "queue": event.queue_ms, "decision": event.decision_ms, "first_token": event.first_token_ms,
            "provider": event.provider_ms, "total": event.total_ms,
        },
        "tokens": [event.tokens_in, event.tokens_out], "cost_usd": nano_to_usd(event.cost_nano_usd),
    }  # fmt: skip


def words(story: Story) -> list[str]:
    """The story of one run as lines for people."""
    lines = [
        f"Request {story['request_id']} of tenant {story['tenant']}, accepted {story['accepted_at']} "
        f"from {story['source']} (run {story['run']})."
    ]
    if accepted := story.get("accepted"):
        tokens_in, tokens_out = accepted["estimated_tokens"]
        lines.append(
            f"Task {accepted['task']}, priority {accepted['priority']}, about {tokens_in} tokens in and "
            f"{tokens_out} out, deadline {accepted['deadline_at']}{', streaming' if accepted['streaming'] else ''}."
        )
    if "deduplicated" in story:
        lines.append(f"Not run again: the answer of {story['deduplicated']}, which has the same id, serves both.")
    if decision := story.get("decision"):
        lines += decision_words(decision)
    lines += [line for attempt in story["attempts"] for line in (_attempt_words(attempt),)]
    if "rejected" in story:
        lines.append(f"Rejected without an attempt: {story['rejected']}.")
    if answer := story.get("answer"):
        lines.append(_answer_words(answer))
    elif "deduplicated" not in story:
        lines.append("There is no final answer yet.")
    return lines


def decision_words(decision: Story) -> list[str]:
    """A decision as lines: how it was made, the plan, the reasons, a table of the candidates and who was left out."""
    plan = ", then ".join(f"{step['deployment']} ({step['tier']})" for step in decision["plan"]) or "nothing"
    offset = decision["control_offset"]
    lines = [
        f"Decided in {decision['decision_us']:.0f} us by strategy {decision['strategy']}, cost strategy "
        f"{decision['cost_strategy']}, balancer {decision['balancer']}, confidence {decision['confidence']:.2f}, with "
        + (f"the configuration at control offset {offset}." if offset >= 0 else "the configuration of the file."),
        f"Plan: {plan}.",
    ]
    lines += [f"Because: {reason}." for reason in decision["reasons"]]
    if decision["candidates"]:
        lines += _candidate_table(decision["candidates"])
    if decision["cut"]:
        lines.append("More candidates than the event records were left off.")
    for item in decision["excluded"]:
        until = f" until {item['until'][11:19]}Z" if "until" in item else ""
        lines.append(f"Left out {item['deployment']}: {item['reason'].replace('_', ' ')}{until}.")
    return lines


COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("tokens in", "tokens_in", lambda value: f"{value:.0f}"),
    ("out", "tokens_out", lambda value: f"{value:.0f}"),
    ("cost a success", "cost_nano_usd_per_success", lambda value: _usd(nano_to_usd(round(value)))),
    ("ms", "expected_ms", lambda value: f"{value:.0f}"),
    ("success", "success_mean", lambda value: f"{value:.3f}"),
    ("at least", "success_lower", lambda value: f"{value:.3f}"),
    ("quality", "quality_mean", lambda value: f"{value:.3f}"),
    ("score", "score", lambda value: f"{value:.4g}"),
)
"""Heading, estimate and form of the table of candidates."""


def _candidate_table(candidates: Sequence[Story]) -> list[str]:
    """Candidates in the order of trial, one line each under aligned headings."""
    explored = any("propensity" in candidate for candidate in candidates)
    head = ["candidate", *(heading for heading, _, _ in COLUMNS), *(("propensity",) if explored else ())]
    rows = [head]
    for candidate in candidates:
        numbers = candidate.get("estimates", {})
        cells = [shown(numbers[name]) if name in numbers else "" for _, name, shown in COLUMNS]
        if explored:
            cells.append(f"{candidate['propensity']:.3f}" if "propensity" in candidate else "")
        rows.append([candidate["deployment"], *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _attempt_words(attempt: Story) -> str:
    where = f"Attempt {attempt['number']} on {attempt['deployment']}"
    cost = f", cost {_usd(attempt['cost_usd'])} ({attempt['certainty']})" if "cost_usd" in attempt else ""
    took = f" after {attempt['latency_ms']:.1f} ms" if "latency_ms" in attempt else ""
    match attempt.get("outcome"):
        case "succeeded":
            tokens_in, tokens_out = attempt["tokens"]
            return f"{where} succeeded{took}: {tokens_in} tokens in, {tokens_out} out{cost}."
        case "failed":
            status = f" with HTTP {attempt['http_status']}" if attempt["http_status"] else ""
            follow = {"same": "the same deployment was tried again", "other": "the next deployment was tried",
                      "wait": "it waited", "none": "nothing more was tried",
                      "retry_budget": "the retry budget held back what was left"}  # fmt: skip
            after = follow.get(attempt["next_action"], attempt["next_action"])
            return f"{where} failed{took}: {attempt['failure'].replace('_', ' ')}{status}; {after}{cost}."
        case "abandoned":
            return f"{where} was abandoned{took}: {attempt['reason']}{cost}."
    return f"{where} has no outcome in the log{cost}."


def _answer_words(answer: Story) -> str:
    took = f"in {answer['latency_ms']['total']:.1f} ms ({answer['latency_ms']['queue']:.1f} ms of it queued)"
    if answer["status"] == "ok":
        fallback = ", by fallback" if answer["fallback"] else ""
        return f"Answered ok by {answer['deployment']}{fallback} {took} for {_usd(answer['cost_usd'])}."
    again = "it may be sent again" if answer["retryable"] else "sending it again would not help"
    return f"Answered with the error {answer['code']} {took}; {again}."


def _usd(amount: float) -> str:
    return f"${amount:.9f}".rstrip("0").rstrip(".") if amount else "$0"
