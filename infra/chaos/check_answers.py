"""Every request has exactly one final answer, and the log says how it came to it."""

from collections import defaultdict
from collections.abc import Iterator

from infra.chaos.history import Answer, Breach, History, Identity, attempt_id
from schemas.events import AttemptEvent, AttemptStarted, CostIncurred, RequestCompleted, RequestDeduplicated
from schemas.ids import Source


def published_stands(history: History) -> Iterator[Breach]:
    """What the broker acknowledged to the publisher stands in the request topic."""
    standing = {request.source for request in history.requests}
    for source in history.published:
        if source not in standing:
            yield Breach("published_stands", str(source), "was acknowledged and does not stand in its topic")


def none_lost(history: History) -> Iterator[Breach]:
    """Each request has an answer of its own, or one of the same id that a RequestDeduplicated names."""
    shared = {event.source: event.first_source for _, event in history.of(RequestDeduplicated)}
    answered = history.answers_by_source
    for request in history.requests:
        if request.source not in answered and shared.get(request.source) not in answered:
            yield Breach("none_lost", request.request_id, f"request {request.source} has no final answer")


def answered_once(history: History) -> Iterator[Breach]:
    """No source has two answers, no id has two that forbid another run, and no answer is of a request that nobody sent."""
    known = {request.source: request for request in history.requests}
    final: dict[Identity, list[Answer]] = defaultdict(list)
    for source, answers in history.answers_by_source.items():
        places = tuple(answer.place for answer in answers)
        if source not in known:
            yield Breach("answered_once", str(source), "was answered and does not stand in its topic", places)
        elif len(answers) > 1:
            says = f"request {source} has {len(answers)} final answers"
            yield Breach("answered_once", answers[0].request_id, says, places)
        elif not answers[0].retryable:
            final[answers[0].identity].append(answers[0])
    for (_, tenant, request_id), answers in final.items():
        if len(answers) > 1:
            places = tuple(answer.place for answer in answers)
            yield Breach("answered_once", request_id, f"the id of {tenant} was served {len(answers)} times", places)


def answered_is_recorded(history: History) -> Iterator[Breach]:
    """Each answered request has its RequestCompleted with the same status, and a cost for each attempt of that run."""
    completed: dict[Source, list[RequestCompleted]] = defaultdict(list)
    for _, event in history.of(RequestCompleted):
        completed[event.source].append(event)
    charged = {event.cost_id for _, event in history.of(CostIncurred)}
    attempts: dict[tuple[Source, int], list[AttemptEvent]] = defaultdict(list)
    for _, started in history.of(AttemptStarted):
        attempts[started.source, started.run].append(started)
    for source, answers in history.answers_by_source.items():
        subject, place = answers[0].request_id, (answers[0].place,)
        outcomes = completed.get(source, [])
        if not any(event.status == answers[0].status for event in outcomes):
            says = f"the {answers[0].status} answer of {source} has no such RequestCompleted"
            yield Breach("answered_is_recorded", subject, says, place)
        for event in outcomes:
            started_here = attempts.get((source, event.run), [])
            if event.status == "ok" and not started_here:
                says = f"{source} was answered in run {event.run} without an AttemptStarted"
                yield Breach("answered_is_recorded", subject, says, place)
            for one in started_here:
                name = attempt_id(source, one.run, one.number)
                if name not in charged:
                    says = f"attempt {name} of an answered request has no CostIncurred"
                    yield Breach("answered_is_recorded", subject, says, place)
