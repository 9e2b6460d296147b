"""Provider simulators: real HTTP on 127.0.0.1 with the providers' wire formats and seeded faults."""

from infra.simulators.faults import FAULTS
from infra.simulators.script import DEFAULT_SCRIPTS, Outage, ProviderScript, read_scripts
from infra.simulators.server import RunningSimulators, Simulator, start_simulators

__all__ = [
    "DEFAULT_SCRIPTS",
    "FAULTS",
    "Outage",
    "ProviderScript",
    "RunningSimulators",
    "Simulator",
    "read_scripts",
    "start_simulators",
]
