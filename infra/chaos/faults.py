"""Faults, by name. Each is done at once and says what is to follow: a process that was killed is started again later."""

import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.chaos.admin import delete_groups, set_topic
from infra.chaos.field import Field
from infra.chaos.read import ask_simulators
from infra.cli.options import run
from infra.supervisor import turnout

STOP_S = 45.0
"""What a process may take to end after SIGTERM: its drain, a grace of ten seconds, and a slow machine."""
REPLACEMENT_STAYS_S = 6.0
SINK_DISK = "the sink's disk"
COMPACTING = {"segment.ms": "200", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "200"}


@dataclass(frozen=True, slots=True)
class Step:
    """A fault at a moment. `pick` in [0, 1) chooses among what is there then; `seconds`: how long; `count`: of what."""

    at_s: float
    fault: str
    pick: float = 0.0
    seconds: float = 0.0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Later:
    """What follows a fault, `after_s` seconds on."""

    after_s: float
    words: str
    act: Callable[[], object]


Outcome = tuple[str, list[Later]]
"""What was done, in words, and what follows. Empty words: there was nothing to do it to."""
Fault = Callable[[Field, Step], Outcome]


def _picked(names: list[str], pick: float) -> str:
    return names[int(pick * len(names))]


def _restarted(field: Field, name: str) -> Callable[[], object]:
    def start() -> None:
        _ended(field, name)
        field.start(name)

    return start


def _ended(field: Field, name: str) -> None:
    if field.children[name].wait(STOP_S) is None:
        field.deaths.append(f"{name} did not end within {STOP_S:.0f} s of SIGTERM")
        field.signal(name, signal.SIGKILL)
        field.children[name].wait(STOP_S)


def kill(role: str) -> Fault:
    """kill -9 of one process of the role, started again after `seconds`."""

    def fault(field: Field, step: Step) -> Outcome:
        if not (names := field.living(role)):
            return "", []
        name = _picked(names, step.pick)
        field.signal(name, signal.SIGKILL)
        return f"kill -9 {name}", [Later(step.seconds, f"start {name}", _restarted(field, name))]

    return fault


def terminate(role: str) -> Fault:
    """SIGTERM of one process of the role, started again `seconds` later, once it has ended."""

    def fault(field: Field, step: Step) -> Outcome:
        if not (names := field.living(role)):
            return "", []
        name = _picked(names, step.pick)
        field.signal(name, signal.SIGTERM)
        return f"SIGTERM {name}", [Later(step.seconds, f"start {name}", _restarted(field, name))]

    return fault


def freeze(role: str) -> Fault:
    """SIGSTOP of one process; a replacement starts at once, and leaves some time after SIGCONT."""

    def fault(field: Field, step: Step) -> Outcome:
        if not (names := field.living(role)):
            return "", []
        name = _picked(names, step.pick)
        field.freeze(name)
        replacement = field.add(role)
        return f"SIGSTOP {name} for {step.seconds:.0f} s, {replacement} started", [
            Later(step.seconds, f"SIGCONT {name}", lambda: field.thaw(name)),
            Later(
                step.seconds + REPLACEMENT_STAYS_S,
                f"SIGTERM {replacement}",
                lambda: field.signal(replacement, signal.SIGTERM),
            ),
        ]

    return fault


def blink(role: str) -> Fault:
    """SIGSTOP of one process for less than its session."""

    def fault(field: Field, step: Step) -> Outcome:
        if not (names := field.living(role)):
            return "", []
        name = _picked(names, step.pick)
        field.freeze(name)
        thaw = Later(step.seconds, f"SIGCONT {name}", lambda: field.thaw(name))
        return f"SIGSTOP {name} for {step.seconds:.1f} s", [thaw]

    return fault


def kill_broker(field: Field, step: Step) -> Outcome:
    """kill -9 of the broker, started again after `seconds`."""
    if not field.broker.running or "broker" in field.frozen:
        return "", []
    field.kill_broker()
    return "kill -9 broker", [Later(step.seconds, "start broker", field.start_broker)]


def freeze_broker(field: Field, step: Step) -> Outcome:
    """SIGSTOP of the broker for `seconds`: connections stay open and nothing answers."""
    if not field.broker.running or "broker" in field.frozen:
        return "", []
    field.freeze("broker")
    thaw = Later(step.seconds, "SIGCONT broker", lambda: field.thaw("broker"))
    return f"SIGSTOP broker for {step.seconds:.0f} s", [thaw]


def full_disk_sink(field: Field, step: Step) -> Outcome:
    """No space for the sink's tables for `seconds`; it ends by itself and is started again all the while."""
    disk = field.disks.get("sql")
    if disk is None or disk.full or SINK_DISK in field.frozen:
        return "", []
    disk.fill()
    return f"the sink's disk is full for {step.seconds:.0f} s", [
        Later(step.seconds, "the sink has space", disk.relieve)
    ]


def full_disk_broker(field: Field, step: Step) -> Outcome:
    """No space for the broker's log for `seconds`: it gives up its only folder and ends. Then it is started with space."""
    disk = field.disks.get("kafka")
    if disk is None or not field.broker.running or "broker" in field.frozen:
        return "", []
    field.broker_wanted = False
    disk.fill()

    def relieve() -> None:
        disk.relieve()
        field.start_broker()

    return f"the broker's disk is full for {step.seconds:.0f} s", [Later(step.seconds, "the broker has space", relieve)]


def slow_disk_sink(field: Field, step: Step) -> Outcome:
    """The sink's disk stands still again and again, for `seconds`."""
    disk = field.disks.get("sql")
    if disk is None or disk.full or SINK_DISK in field.frozen:
        return "", []
    field.stall(SINK_DISK, disk.folder)
    thaw = Later(step.seconds, "the sink's disk is as before", lambda: field.thaw(SINK_DISK))
    return f"the sink's disk is slow for {step.seconds:.0f} s", [thaw]


def scale(field: Field, step: Step) -> Outcome:
    """`count` workers from now on: more are started, or the oldest end by SIGTERM."""
    names = field.living("router")
    if len(names) == step.count:
        return "", []
    for _ in range(step.count - len(names)):
        field.add("router")
    for name in names[: max(0, len(names) - step.count)]:
        field.signal(name, signal.SIGTERM)
    return f"scale workers {len(names)} -> {step.count}", []


def same_ids_twice(field: Field, step: Step) -> Outcome:
    """The newest `count` ids are published once more."""
    field.tell(f"again {step.count}")
    return f"publish the last {step.count} ids again", []


def delete_offsets(field: Field, step: Step) -> Outcome:
    """End every worker and projector, delete their groups' offsets, start them again."""
    names = [name for role in ("router", "projector") for name in field.living(role)]
    for name in names:
        field.signal(name, signal.SIGTERM)
    for name in names:
        _ended(field, name)
    groups = [f"{field.settings.kafka.topic_prefix}turnout-{role}" for role in ("router", "projector")]
    deleted = run(delete_groups(field.broker.bootstrap_servers, groups))
    starts = [Later(step.seconds, f"start {name}", _restarted(field, name)) for name in names]
    return f"delete the offsets of {', '.join(deleted) or 'no group'}", starts


def compact_state(field: Field, step: Step) -> Outcome:
    """Let the broker compact llm.state now, for `seconds`."""
    if not field.broker.running or "broker" in field.frozen:
        return "", []
    topic, servers = f"{field.settings.kafka.topic_prefix}state", field.broker.bootstrap_servers
    before = run(set_topic(servers, topic, COMPACTING))
    restore = Later(step.seconds, "compaction as before", lambda: run(set_topic(servers, topic, before)))
    return f"compact {topic}", [restore]


def provider_outage(field: Field, step: Step) -> Outcome:
    """One provider shows one fault for `seconds`."""
    providers = sorted(ask_simulators(field.ports.simulators, "/control")["providers"])
    provider = _picked(providers, step.pick)
    fault = OUTAGES[step.count % len(OUTAGES)]
    ask_simulators(field.ports.simulators, f"/control/{provider}", {"fault": fault, "for_s": step.seconds})
    return f"{provider} shows {fault} for {step.seconds:.0f} s", []


def slow_providers(field: Field, step: Step) -> Outcome:
    """Every provider answers `count` seconds late, for `seconds`."""
    for provider in ask_simulators(field.ports.simulators, "/control")["providers"]:
        body = {"fault": "slow_first_byte", "seconds": step.count, "for_s": step.seconds}
        ask_simulators(field.ports.simulators, f"/control/{provider}", body)
    return f"every provider answers {step.count} s late for {step.seconds:.0f} s", []


def set_budget(field: Field, step: Step) -> Outcome:
    """A budget is changed through llm.control: `count` + 100 USD a day for everything, far above what a run spends."""
    if not field.broker.running or "broker" in field.frozen:
        return "", []
    usd = str(100 + step.count)
    command = turnout("set", "budget", "global", "day", usd, "--config", str(field.config))
    subprocess.run(command, check=True, capture_output=True, timeout=STOP_S)
    return f"set budget global day {usd}", []


def cold_start(field: Field, step: Step) -> Outcome:
    """kill -9 of every worker and projector at once; all start again after `seconds`."""
    names = [name for role in ("router", "projector") for name in field.living(role)]
    for name in names:
        field.signal(name, signal.SIGKILL)
    return f"kill -9 {', '.join(names)}", [Later(step.seconds, f"start {n}", _restarted(field, n)) for n in names]


OUTAGES = ("status_500", "status_429", "hang", "reset_before_headers", "refuse", "half_body")
FAULTS: Mapping[str, Fault] = {
    "kill-worker": kill("router"),
    "terminate-worker": terminate("router"),
    "freeze-worker": freeze("router"),
    "blink-worker": blink("router"),
    "kill-projector": kill("projector"),
    "terminate-projector": terminate("projector"),
    "freeze-projector": freeze("projector"),
    "kill-sink": kill("sink"),
    "terminate-sink": terminate("sink"),
    "kill-broker": kill_broker,
    "freeze-broker": freeze_broker,
    "full-disk-sink": full_disk_sink,
    "full-disk-broker": full_disk_broker,
    "slow-disk-sink": slow_disk_sink,
    "scale": scale,
    "same-ids-twice": same_ids_twice,
    "delete-offsets": delete_offsets,
    "compact-state": compact_state,
    "provider-outage": provider_outage,
    "slow-providers": slow_providers,
    "set-budget": set_budget,
    "cold-start": cold_start,
}
SMALL_DISKS: Mapping[str, str] = {"full-disk-sink": "sql", "slow-disk-sink": "sql", "full-disk-broker": "kafka"}
"""Whose folder lies on a small disk, for which faults."""
