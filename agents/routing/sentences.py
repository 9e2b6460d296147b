"""Reasons and rejections in words, with the numbers that were used."""

from collections import Counter
from collections.abc import Iterable, Mapping

from agents.routing.filters import ASLEEP, Blocked, Reason
from schemas.errors import RequestError
from schemas.units import MICROS_PER_MS, clock_text

LEFT_OUT_SHOWN = 3
DEFAULT_RETRY_MS = 1_000

TEXTS: dict[Reason, str] = {
    Reason.BUDGET: "its budget is used up",
    Reason.SWITCHED_OFF: "switched off",
    Reason.OUT_OF_SERVICE: "out of service",
    Reason.TRIED: "tried already",
    Reason.CIRCUIT_OPEN: "circuit open",
    Reason.HALF_OPEN_BUSY: "circuit half-open with its trial under way",
    Reason.COOLING: "rate limited by its provider",
    Reason.UNHEALTHY: "no call succeeded in the last two minutes",
    Reason.CONCURRENCY: "as many calls under way as its limit allows",
    Reason.RATE_LIMIT: "its limit of this minute is reached",
    Reason.REGION: "in another region",
    Reason.MODEL: "serves another model",
    Reason.DENIED: "denied by the request",
    Reason.NOT_ALLOWED: "not among those the request allows",
    Reason.TOOLS: "its model cannot use tools",
    Reason.VISION: "its model cannot see images",
    Reason.JSON_SCHEMA: "its model cannot follow a JSON schema",
    Reason.STREAMING: "its model cannot stream",
    Reason.SAMPLING: "its model refuses sampling parameters",
    Reason.FORCED_TOOL: "its model refuses a forced tool",
    Reason.CONTEXT: "the context window is too small",
    Reason.MAX_COST: "a call may cost more than max_cost_usd",
    Reason.DEADLINE: "its p95 is longer than the time that remains",
    Reason.MIN_QUALITY: "its quality is below min_quality",
    Reason.TIER: "its model is of another tier",
}
ADVICE: dict[Reason, str] = {
    Reason.BUDGET: "wait for the next period or raise the budget with `turnout set budget`",
    Reason.SWITCHED_OFF: "switch a deployment on with `turnout set deployment ID on`",
    Reason.OUT_OF_SERVICE: "mend the credential or the model's name and release the deployment",
    Reason.TRIED: "add a deployment to fall back to",
    Reason.CIRCUIT_OPEN: "try again when a circuit has closed, or add a deployment to fall back to",
    Reason.HALF_OPEN_BUSY: "try again in a second",
    Reason.COOLING: "try again later, or add a deployment",
    Reason.UNHEALTHY: "try again later, or add a deployment to fall back to",
    Reason.CONCURRENCY: "try again in a second, or raise limits.concurrency",
    Reason.RATE_LIMIT: "try again in the next minute, or raise the limits",
    Reason.REGION: "name another routing.region",
    Reason.MODEL: "name another model or `auto`, or allow fallback",
    Reason.DENIED: "shorten routing.deny",
    Reason.NOT_ALLOWED: "widen routing.allow",
    Reason.TOOLS: "remove tools, or name a model that has them",
    Reason.VISION: "remove the images, or name a model that sees",
    Reason.JSON_SCHEMA: "remove response_format, or name a model that follows it",
    Reason.STREAMING: "set stream to false, or name a model that streams",
    Reason.SAMPLING: "remove temperature, top_p and top_k, or name a model that takes them",
    Reason.FORCED_TOOL: "set tool_choice to auto, or name a model that can be forced",
    Reason.CONTEXT: "shorten the messages or max_tokens, or name a model with a larger context window",
    Reason.MAX_COST: "raise routing.max_cost_usd, or shorten the messages or max_tokens",
    Reason.DEADLINE: "raise routing.deadline_ms",
    Reason.MIN_QUALITY: "lower routing.min_quality",
    Reason.TIER: "name another routing.tier",
}
CODES: dict[Reason, str] = {
    Reason.BUDGET: "budget_exhausted",
    Reason.CONTEXT: "context_length_exceeded",
    Reason.MAX_COST: "cost_limit_exceeded",
    Reason.DEADLINE: "deadline_exceeded",
    Reason.CONCURRENCY: "throttled",
    Reason.RATE_LIMIT: "throttled",
} | dict.fromkeys(ASLEEP, "throttled")
PARAMS: dict[Reason, str] = {
    Reason.MAX_COST: "routing.max_cost_usd",
    Reason.DEADLINE: "routing.deadline_ms",
    Reason.CONTEXT: "messages",
    Reason.DENIED: "routing.deny",
    Reason.NOT_ALLOWED: "routing.allow",
    Reason.REGION: "routing.region",
    Reason.MIN_QUALITY: "routing.min_quality",
    Reason.TIER: "routing.tier",
    Reason.MODEL: "model",
    Reason.TOOLS: "tools",
    Reason.STREAMING: "stream",
    Reason.JSON_SCHEMA: "response_format",
    Reason.VISION: "messages",
    Reason.SAMPLING: "temperature",
    Reason.FORCED_TOOL: "tool_choice",
}


def left_out(ids: list[str], missed: Iterable[tuple[int, Reason, int]], details: Mapping[str, str]) -> list[str]:
    """A sentence for each of the first three that are left out, and one for how many more there are."""
    sentences: list[str] = []
    more = 0
    for position, reason, until in missed:
        if len(sentences) == LEFT_OUT_SHOWN:
            more += 1
            continue
        name = ids[position]
        why = TEXTS[reason]
        if reason is Reason.OUT_OF_SERVICE:
            why = f"{why}: {details.get(name, '')}".rstrip(": ")
        when = f" until {clock_text(until)}" if until else ""
        sentences.append(f"{name} left out: {why}{when}")
    if more:
        sentences.append(f"{more} more left out")
    return sentences


def rejection(
    hard: Mapping[int, Reason], unfit: Mapping[int, Reason], blocked: Blocked, total: int, now: int
) -> RequestError:
    """The final error when nobody is left: what removed the most, and what to change.

    If some deployment could serve the request were it available, its trouble is the answer: another request would not
    help. Else it is what the deployments lack; those of other models than the one named speak only when alone.
    """
    if total == 0:
        message = "The catalog has no deployments; add some to turnout.yaml and run `turnout apply`."
        return RequestError("no_capable_deployment", message)
    troubled = {p: reason for p, (reason, _) in blocked.items() if p not in hard and p not in unfit}
    lacking = {**hard, **unfit}
    counts = Counter(troubled.values() if troubled else lacking.values())
    if not troubled and len(counts) > 1:
        counts.pop(Reason.MODEL, None)
    # The code is that of the most frequent; of equals a retryable one, since waiting may be all that is needed.
    worst = max(counts, key=lambda reason: (counts[reason], CODES.get(reason) == "throttled", reason.value))
    code = CODES.get(worst, "no_capable_deployment")
    waits = [until for p, (_, until) in blocked.items() if p in troubled and until > now]
    retry_after_ms = None
    if code in ("throttled", "budget_exhausted"):
        retry_after_ms = max(1, (min(waits) - now) // MICROS_PER_MS) if waits else DEFAULT_RETRY_MS
    removed = f"{counts[worst]} of {total} deployment{'s' * (total != 1)}"
    why = f"most were left out because: {TEXTS[worst]} ({removed})"
    message = f"No deployment can take the request; {why}; {ADVICE[worst]}."
    return RequestError(code, message, param=PARAMS.get(worst), retry_after_ms=retry_after_ms)
