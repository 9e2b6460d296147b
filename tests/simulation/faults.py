"""Faults drawn from the seed. Every one has ended when the world heals."""

from collections.abc import Callable
from typing import Any

LAST_S = 13.9
"""Before the end of the busy time: the world waits for faults that have begun, not for those to come."""
IDLE_S = 1.0


def plan_faults(world: Any) -> None:
    """Set the timers of one to five faults within the busy time; a crash may follow upon any of them."""
    rng = world.rng
    for _ in range(rng.randrange(1, 6)):
        at, (fault,) = rng.uniform(1.5, LAST_S), rng.choices(NAMES, WEIGHTS)
        world.loop.later(at, strike, world, fault)
        if rng.random() < 0.35:
            world.loop.later(min(LAST_S, at + rng.uniform(0.1, 6.0)), strike, world, "crash")


def strike(world: Any, name: str) -> None:
    """One fault now. One that finds no worker to hit does not count."""
    FAULTS[name][0](world)


def _slot(world: Any) -> int | None:
    return world.rng.choice(sorted(world.workers)) if world.workers else None


def _crash(world: Any) -> None:
    slot = _slot(world)
    if slot is not None:
        seconds = world.rng.uniform(0.5, 8.0)
        world.fault("crash", f"kill -9 {world.workers[slot].name}", seconds)
        world.kill(slot, restart_after=seconds)


def _freeze(world: Any) -> None:
    slot = _slot(world)
    if slot is None:
        return
    worker, seconds = world.workers[slot], world.rng.choice((1.0, 4.0, 7.0, 11.0)) * world.rng.uniform(0.8, 1.2)
    world.fault("freeze", f"freeze {worker.name} for {seconds:.1f} s", seconds)
    world.loop.freeze(worker.process)
    world.loop.later(seconds, _thaw, world, worker)


def _thaw(world: Any, worker: Any) -> None:
    world.say(f"thaw {worker.name}")
    world.loop.thaw(worker.process)


def _late(world: Any) -> None:
    """A machine that is overloaded: every timer of one process comes late."""
    slot = _slot(world)
    if slot is None:
        return
    process, seconds, late = world.workers[slot].process, world.rng.uniform(2.0, 8.0), world.rng.uniform(0.2, 2.5)
    world.fault("late wake-ups", f"{process.name} wakes up to {late:.2f} s late", seconds + late)
    process.late_s = late
    world.loop.later(seconds, setattr, process, "late_s", 0.0)


def _duplicate(world: Any) -> None:
    """Records are delivered again within an assignment, as after a fetch that Faust drops."""
    slot = _slot(world)
    if slot is not None and (members := world.workers[slot].members):
        member = world.rng.choice(members)
        world.fault("duplicate deliveries", f"{member.name} reads again from an earlier offset", 0.0)
        member.read_again()


def _drop(world: Any) -> None:
    """A fetch is dropped although the position has moved past it; nothing may come after it."""
    slot = _slot(world)
    if slot is not None and (members := world.workers[slot].members):
        member = world.rng.choice(members)
        world.fault("dropped fetches", f"the next fetch of {member.name} is dropped", 0.0)
        member.drop()


def _reorder(world: Any) -> None:
    """One partition is read late, so that what was written after it elsewhere is read before."""
    kind = world.rng.choice(("requests", "responses", "attempts", "costs", "transitions", "state", "control"))
    seconds, partition = world.rng.uniform(0.5, 5.0), world.rng.randrange(world.topics.partitions)
    partition = 0 if kind == "control" else partition
    world.fault("reordered partitions", f"{kind}-{partition} is read {seconds:.1f} s late", seconds)
    world.broker.lag(world.topics.name(kind), partition, seconds)


def _rebalance(world: Any) -> None:
    """The partitions are dealt anew, often because a broker went away: then their first fetches are slow as well."""
    rng, name = world.rng, world.rng.choice(sorted(world.broker.groups) or [""])
    if not name:
        return
    slow = rng.uniform(3.0, 8.0) if rng.random() < 0.5 else 0.0
    world.fault("rebalance", f"the group {name} rebalances, fetches slow for {slow:.1f} s", 1.0 + slow)
    group = world.broker.groups[name]
    group.prepare()
    if slow:
        for topic in group.topics:
            for partition in range(world.topics.partitions):
                world.broker.lag(topic, partition, slow)


def _scale(world: Any) -> None:
    """One worker more, which is killed again a while later."""
    slot, seconds = max(world.workers, default=0) + 10, world.rng.uniform(2.0, 10.0)
    world.fault("scaling", "scale up", seconds)
    world.bring_up(slot)
    world.loop.later(seconds, world.kill, slot, None)


def _slow(world: Any) -> None:
    late, seconds = world.rng.uniform(0.05, 1.2), world.rng.uniform(2.0, 8.0)
    world.fault("slow acknowledgements", f"acknowledgements late by up to {late:.2f} s", seconds)
    world.broker.network.slow_acks = late
    world.loop.later(seconds, setattr, world.broker.network, "slow_acks", 0.0)


def _lost(world: Any) -> None:
    seconds = world.rng.uniform(2.0, 8.0)
    world.fault("lost acknowledgements", "acknowledgements lost", seconds)
    world.broker.network.lost_acks = world.rng.uniform(0.05, 0.4)
    world.loop.later(seconds, setattr, world.broker.network, "lost_acks", 0.0)


def _pause(world: Any) -> None:
    seconds = world.rng.uniform(0.5, 5.0)
    world.fault("broker pause", f"broker paused for {seconds:.1f} s", seconds)
    world.broker.paused_until = max(world.broker.paused_until, world.loop.time() + seconds)


def _restart(world: Any) -> None:
    """The broker is started again: it is away, and then loads its groups for a while. Often a worker has been frozen for so
    long that others took its place, and wakes up meanwhile."""
    rng, slot = world.rng, _slot(world)
    away, loading, before = rng.uniform(0.5, 2.0), rng.uniform(0.3, 3.0), 0.0
    if slot is not None and rng.random() < 0.7:
        worker, before = world.workers[slot], rng.uniform(6.0, 9.0)
        wakes = before + away + loading * rng.uniform(-0.2, 0.9)
        world.loop.freeze(worker.process)
        world.loop.later(wakes, _thaw, world, worker)
    words = f"broker away in {before:.1f} s for {away:.1f} s, loads groups for {loading:.1f} s"
    world.fault("coordinator restart", f"{words}, {worker.name} frozen for {wakes:.1f} s" if before else words,
                before + away + loading)  # fmt: skip
    world.loop.later(before, _start_again, world, away, loading)


def _start_again(world: Any, away: float, loading: float) -> None:
    world.broker.paused_until = max(world.broker.paused_until, world.loop.time() + away)
    for group in world.broker.groups.values():
        group.restart(away + loading)


def _clock(world: Any) -> None:
    """A partition's leader moves to a machine whose clock differs, or a worker's own clock steps."""
    rng, by_ms, slot = world.rng, world.rng.randrange(-400, 400), _slot(world)
    if slot is not None and rng.random() < 0.4:
        world.fault("clock offset", f"clock of {world.workers[slot].name} off by {by_ms} ms", 0.0)
        world.workers[slot].clock.error = by_ms * 1000
        return
    topic = rng.choice(("requests", "responses", "decisions", "attempts", "costs", "transitions"))
    world.fault("clock offset", f"clock of {topic} off by {by_ms} ms", 0.0)
    world.broker.step_clock(world.topics.name(topic), rng.randrange(world.topics.partitions), by_ms)


def _outage(world: Any) -> None:
    deployment, seconds = world.rng.choice(("d1", "d2", "d3")), world.rng.uniform(3.0, 10.0)
    world.fault("provider outage", f"outage of {deployment}", seconds)
    world.providers.down[deployment] = world.loop.time() + seconds


def _slow_provider(world: Any) -> None:
    """Every call takes seconds: many are under way when something else strikes."""
    seconds = world.rng.uniform(3.0, 10.0)
    world.fault("slow provider", "providers answer after seconds", seconds)
    world.providers.slow_until = max(world.providers.slow_until, world.loop.time() + seconds)


def _reset(world: Any) -> None:
    """Every worker dies and the groups' generations begin again at 1, as after an idle week."""
    world.fault("forgotten groups", "all workers die, groups forgotten", 3.0)
    # Who was dead before waits as well: without a session to time out it could look before the last write arrives.
    world.idle_until = world.loop.now + IDLE_S
    for slot in sorted(world.workers):
        world.kill(slot, restart_after=world.rng.uniform(IDLE_S, 3.0))
    for group in world.broker.groups.values():
        group.reset()


def _compact(world: Any) -> None:
    """The cleaner runs: of every key of the state the record written last is left."""
    world.fault("compaction", "the state is compacted", 0.0)
    for partition in range(world.topics.partitions):
        world.broker.compact(world.topics.name("state"), partition)


FAULTS: dict[str, tuple[Callable[[Any], None], int]] = {
    "crash": (_crash, 2),
    "freeze": (_freeze, 2),
    "late wake-ups": (_late, 1),
    "duplicate deliveries": (_duplicate, 1),
    "dropped fetches": (_drop, 1),
    "reordered partitions": (_reorder, 1),
    "rebalance": (_rebalance, 2),
    "scaling": (_scale, 1),
    "slow acknowledgements": (_slow, 1),
    "lost acknowledgements": (_lost, 1),
    "broker pause": (_pause, 1),
    "coordinator restart": (_restart, 3),
    "clock offset": (_clock, 1),
    "provider outage": (_outage, 1),
    "slow provider": (_slow_provider, 2),
    "forgotten groups": (_reset, 2),
    "compaction": (_compact, 1),
}
"""Name -> what it does, and how often it is drawn compared with the others."""
NAMES, WEIGHTS = list(FAULTS), [weight for _, weight in FAULTS.values()]
