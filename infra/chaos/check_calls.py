"""What the providers saw: no call was bought twice unless the log says why."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise

from infra.chaos.history import Breach, Call, History, Owner, attempt_id
from schemas.events import AttemptFailed, AttemptStarted, CostReserved
from schemas.ids import Source

Runs = dict[Source, dict[int, set[int]]]
"""Source -> run -> numbers of the attempts that reached a provider."""


def runs_of(history: History) -> Runs:
    """Which attempts of which runs were bought, from the bill."""
    found: Runs = defaultdict(lambda: defaultdict(set))
    for call in history.calls:
        source, run, number = _parsed(call.attempt)
        found[source][run].add(number)
    return found


def called_once(history: History) -> Iterator[Breach]:
    """Each attempt is one call, recorded before it was made; a further one in its run follows a recorded failure."""
    seen: dict[str, list[Call]] = defaultdict(list)
    for call in history.calls:
        seen[call.attempt].append(call)
    started = {
        attempt_id(event.source, event.run, event.number): record for record, event in history.of(AttemptStarted)
    }
    reserved = {event.cost_id for _, event in history.of(CostReserved)}
    failed = {attempt_id(event.source, event.run, event.number) for _, event in history.of(AttemptFailed)}
    for name, calls in seen.items():
        if len(calls) > 1:
            shown = tuple(f"{call.deployment} {call.status}" for call in calls)
            yield Breach("called_once", name, f"{len(calls)} calls of one attempt reached providers", shown)
        if name not in started or name not in reserved:
            missing = " and ".join(
                kind for kind, known in (("AttemptStarted", started), ("CostReserved", reserved)) if name not in known
            )
            yield Breach("called_once", name, f"a call reached {calls[0].deployment} without {missing}")
        source, run, number = _parsed(name)
        before = attempt_id(source, run, number - 1)
        if number > 1 and before not in failed:
            yield Breach("called_once", name, f"was bought and the attempt before it, {before}, did not fail")


def bought_again_by_reason(history: History) -> Iterator[Breach]:
    """A request is called for in two runs only where its partition changed hands between them.

    A worker that its group expelled is another owner when it comes back: it cannot know who owned meanwhile, and drops
    what it held.
    """
    for source, runs in runs_of(history).items():
        owners = _owners_of(history, source)
        for run in runs:
            if run not in owners:
                yield Breach(
                    "bought_again_by_reason", str(source), f"run {run} is no AssignmentStarted of its partition"
                )
        if history.owners_stay and len(runs) > 1:
            yield Breach("bought_again_by_reason", str(source), f"ran in {sorted(runs)} and no owner was disturbed")
        for earlier, later in pairwise(sorted(runs)):
            between = _between(owners, earlier, later)
            if len(between) == 1:
                worker = between.pop().worker
                says = f"was bought in runs {earlier} and {later}, both of {worker}, with no other owner between"
                yield Breach("bought_again_by_reason", str(source), says)


def bought_again(history: History) -> int:
    """Requests that were called for in more than one run: what a change of owner may cost."""
    return sum(len(runs) > 1 for runs in runs_of(history).values())


def bought_again_after_expulsion(history: History) -> int:
    """Those of them that no other worker had meanwhile: the group had expelled theirs."""
    return sum(
        any(
            len({owner.worker for owner in _between(_owners_of(history, source), earlier, later)}) == 1
            for earlier, later in pairwise(sorted(runs))
        )
        for source, runs in runs_of(history).items()
    )


def _owners_of(history: History, source: Source) -> dict[int, Owner]:
    """Run -> owner, of the partition of a request."""
    return dict(history.markers.get((source.topic, source.partition), []))


def _between(owners: Mapping[int, Owner], earlier: int, later: int) -> set[Owner]:
    return {owner for run, owner in owners.items() if earlier <= run <= later}


def _parsed(name: str) -> tuple[Source, int, int]:
    source, _, rest = name.rpartition("@")
    run, _, number = rest.partition("/")
    return Source.parse(source), int(run), int(number)
