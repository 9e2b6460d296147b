"""Who may see what: an analyst the database, an admin its tables' state as well, a tenant its own rows.

A tenant's rows are chosen by the engine. Every table has a row policy (`POLICIES`), which ClickHouse applies before any
condition of a statement, so neither a view, an IN, a function that throws nor an index shows another tenant's row. The policies
read the tenant from a setting that the door sets on the tenant's handle, and that the profile `tenant` then freezes.
"""

from dataclasses import dataclass
from typing import Final, Literal
from xml.sax.saxutils import escape

from infra.sql.errors import ACCESS_DENIED, SqlError

CARRIER: Final = "log_comment"
"""The setting a tenant's name travels in: of the built-in ones, the one that changes nothing else."""
_MARK: Final = "turnout tenant "
_TENANT: Final = f"substring(getSetting('{CARRIER}'), {len(_MARK) + 1})"
_SCOPE: Final = f"concat('tenant:', {_TENANT})"
_OWN: Final = f"tenant = {_TENANT}"
_NONE: Final = "0"
POLICIES: Final[dict[str, str]] = {
    "log": _OWN, "answers_by_time": _OWN, "attempts_by_time": _OWN, "charges_by_time": _OWN, "estimates_by_time": _OWN,
    "choices_by_time": _OWN, "tenant_hour": _OWN,
    "limits_fold": f"scope IN ('', {_SCOPE})", "forecasts": f"scope = {_SCOPE}",
    "state_fold": f"(kind = 'spend' AND subject = {_TENANT}) OR (kind = 'sla' AND subject = concat(splitByChar('/', subject)[1],"
    f" '/', {_SCOPE}, '/', splitByChar('/', subject)[-1]))",
    "held_fold": f"kind = 'spend' AND subject = {_TENANT}",
    "notices": "event IN ('BudgetPeriodStarted', 'BudgetThresholdCrossed')"
    f" AND JSONExtractString(payload, 'scope') = {_SCOPE}",
    # The deployments' names, by which a tenant's decisions are read.
    "catalogs_fold": "1",
    "provider_minute": _NONE, "journal": _NONE, "epochs": _NONE, "migrations": _NONE, "kept": _NONE,
}  # fmt: skip
"""Table -> the rows a tenant sees of it. Whoever is no tenant sees all."""

VIEWS: Final = ("answers", "attempts", "budgets", "costs", "decisions", "events", "requests", "sla", "tenant_costs")
"""What a tenant may name."""


@dataclass(frozen=True, slots=True)
class Role:
    """`tenant`: whose rows, for the kind "tenant" alone."""

    kind: Literal["admin", "analyst", "tenant"]
    tenant: str = ""

    @property
    def mark(self) -> str:
        """The value of CARRIER on the handle of a tenant."""
        return _MARK + self.tenant

    def __str__(self) -> str:
        return f"tenant:{self.tenant}" if self.kind == "tenant" else self.kind


ADMIN: Final = Role("admin")
ANALYST: Final = Role("analyst")


def parse_role(text: str) -> Role:
    """`admin`, `analyst` or `tenant:T`. Raises ValueError that says so."""
    kind, colon, tenant = text.partition(":")
    if text in ("admin", "analyst"):
        return ADMIN if text == "admin" else ANALYST
    if kind == "tenant" and colon and tenant:
        return Role("tenant", tenant)
    raise ValueError("must be admin, analyst or tenant:T with T the tenant's id")


def policies_xml() -> str:
    """The `<databases>` element of users.xml."""
    everyone = f"NOT startsWith(getSetting('{CARRIER}'), '{_MARK}')"
    policies = "".join(
        f"\n          <{table}><filter>{escape(f'{everyone} OR ({rows})')}</filter></{table}>"
        for table, rows in POLICIES.items()
    )
    return f"<databases>\n        <turnout>{policies}\n        </turnout>\n      </databases>"


def refuse_view(role: Role, name: str) -> SqlError:
    """Why a tenant does not get this table or view, and what it may read."""
    return SqlError(
        ACCESS_DENIED, f"Not allowed for {str(role)[:80]}: {name[:80]} is not kept by tenant: read {', '.join(VIEWS)}"
    )
