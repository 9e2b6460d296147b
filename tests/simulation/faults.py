"""Faults drawn from the seed. Every one has ended when the world heals."""

from typing import Any


def plan_faults(world: Any) -> None:
    """Set the timers of one to five faults within the busy time."""
    rng = world.rng
    for _ in range(rng.randrange(1, 6)):
        at = rng.uniform(1.5, 14.0)
        fault = rng.choice((_kill, _kill, _freeze, _freeze, _scale, _slow, _lost, _pause, _clock, _outage, _reset))
        world.loop.later(at, fault, world)


def _slot(world: Any) -> int | None:
    return world.rng.choice(sorted(world.workers)) if world.workers else None


def _kill(world: Any) -> None:
    slot = _slot(world)
    if slot is not None:
        seconds = world.rng.uniform(0.5, 8.0)
        world.fault(f"kill -9 {world.workers[slot].name}", seconds)
        world.kill(slot, restart_after=seconds)


def _freeze(world: Any) -> None:
    slot = _slot(world)
    if slot is None:
        return
    worker, seconds = world.workers[slot], world.rng.choice((1.0, 4.0, 7.0, 11.0)) * world.rng.uniform(0.8, 1.2)
    world.fault(f"freeze {worker.name} for {seconds:.1f} s", seconds)
    world.loop.freeze(worker.process)
    world.loop.later(seconds, _thaw, world, worker)


def _thaw(world: Any, worker: Any) -> None:
    world.say(f"thaw {worker.name}")
    world.loop.thaw(worker.process)


def _scale(world: Any) -> None:
    """One worker more, which is killed again a while later."""
    slot, seconds = max(world.workers, default=0) + 10, world.rng.uniform(2.0, 10.0)
    world.fault("scale up", seconds)
    world.start_worker(slot)
    world.loop.later(seconds, world.kill, slot, None)


def _slow(world: Any) -> None:
    late, seconds = world.rng.uniform(0.05, 1.2), world.rng.uniform(2.0, 8.0)
    world.fault(f"acknowledgements late by up to {late:.2f} s", seconds)
    world.broker.network.slow_acks = late
    world.loop.later(seconds, _ended, world, "slow_acks")


def _lost(world: Any) -> None:
    seconds = world.rng.uniform(2.0, 8.0)
    world.fault("acknowledgements lost", seconds)
    world.broker.network.lost_acks = world.rng.uniform(0.05, 0.4)
    world.loop.later(seconds, _ended, world, "lost_acks")


def _ended(world: Any, name: str) -> None:
    setattr(world.broker.network, name, 0.0)


def _pause(world: Any) -> None:
    seconds = world.rng.uniform(0.5, 5.0)
    world.fault(f"broker paused for {seconds:.1f} s", seconds)
    world.broker.paused_until = max(world.broker.paused_until, world.loop.time() + seconds)


def _clock(world: Any) -> None:
    topic = world.rng.choice(("requests", "responses", "decisions", "attempts", "costs", "transitions"))
    by_ms = world.rng.randrange(-400, 400)
    world.fault(f"clock of {topic} off by {by_ms} ms", 0.0)
    world.broker.step_clock(world.topics.name(topic), world.rng.randrange(world.topics.partitions), by_ms)


def _outage(world: Any) -> None:
    deployment, seconds = world.rng.choice(("d1", "d2", "d3")), world.rng.uniform(3.0, 10.0)
    world.fault(f"outage of {deployment}", seconds)
    world.providers.down[deployment] = world.loop.time() + seconds


def _reset(world: Any) -> None:
    """Every worker dies and the groups' generations begin again at 1, as after an idle week."""
    world.fault("all workers die, groups forgotten", 3.0)
    for slot in sorted(world.workers):
        world.kill(slot, restart_after=world.rng.uniform(1.0, 3.0))
    for group in world.broker.groups.values():
        group.reset()
