"""`turnout catalog`: today's models with their prices, and the section of the configuration that names them."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.options import AsJson, print_json, print_table

if TYPE_CHECKING:
    from infra.catalog.models import Known

app = typer.Typer(
    help="Today's models: what they can do and what they cost.\n\n\b\nExample:\n  turnout catalog list",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip
Provider = Annotated[
    str | None,
    typer.Option(
        "--provider", metavar="P", help="Only of one: openai, anthropic, google, openai_compatible, mistral ..."
    ),
]


@app.command("list")
def list_(provider: Provider = None, as_json: AsJson = False) -> None:
    """List the models: tier, window, capabilities, prices in USD per million tokens.

    \b
    Example:
      turnout catalog list --provider anthropic
    """
    found = _of(provider)
    if as_json:
        print_json([_document(known) for known in found], indent=True)
        return
    print_table(
        ("model", "provider", "tier", "context", "output", "capabilities", "refuses", "input $", "output $", "cache $"),
        (
            (
                known.model.id, _seller(known), known.model.tier, known.model.context_window,
                known.model.max_output_tokens, " ".join(sorted(known.model.capabilities)),
                " ".join(sorted(known.model.refuses)), *(f"{price:g}" for price in _prices(known)),
            )
            for known in found
        ),
    )  # fmt: skip
    typer.echo(_dated(found))


@app.command()
def show(model: Annotated[str, typer.Argument(help="The model's id.")], as_json: AsJson = False) -> None:
    """Show all that is known about a model.

    \b
    Example:
      turnout catalog show gpt-5-mini
    """
    from difflib import get_close_matches

    from schemas.errors import OperationError

    every = {known.model.id: known for known in _of(None)}
    if model not in every:
        close = get_close_matches(model, every, 3, 0.4)
        near = f"; close are {', '.join(close)}" if close else ""
        raise OperationError(f"The catalog has no model {model}{near}; `turnout catalog list` shows all.")
    document = _document(every[model])
    if as_json:
        print_json(document, indent=True)
        return
    rows = [(key, ", ".join(map(str, value)) if isinstance(value, list) else value) for key, value in document.items()]
    print_table(("fact", "value"), [row for row in rows if row[1] is not None])


@app.command("import")
def import_(provider: Provider = None) -> None:
    """Print the models as YAML for `catalog.models` of turnout.yaml.

    \b
    Example:
      turnout catalog import --provider openai > models.yaml
    """
    found = _of(provider)
    lines = [f"# {_dated(found)}", "# Quality is unknown here: add `quality: {code: 0.8}` where you measured it."]
    lines += ["catalog:", "  models:"]
    lines += [line for known in found for line in _yaml(known)]
    typer.echo("\n".join(lines))


def _of(provider: str | None) -> "list[Known]":
    """Raises OperationError where nobody is of that provider."""
    from infra.catalog.models import known_models
    from schemas.errors import OperationError

    every = known_models(datetime.now(UTC).date())
    found = [known for known in every if provider in (None, known.provider, _seller(known))]
    if not found:
        sellers = ", ".join(sorted({_seller(known) for known in every} | {known.provider for known in every}))
        raise OperationError(f"The catalog has no models of {provider}; name one of {sellers}.")
    return found


def _seller(known: "Known") -> str:
    """Whose price list it is; "local" for what costs nothing."""
    return known.priced_as.partition("/")[0] or "local"


def _prices(known: "Known") -> tuple[float, float, float]:
    prices = known.model.price_usd_per_million
    return prices.input, prices.output, prices.input if prices.cache_read is None else prices.cache_read


def _dated(found: "Iterable[Known]") -> str:
    first = next(iter(found))
    versions = sorted({known.price_version for known in found if known.priced_as}) or ["free"]
    return (
        f"Prices: {', '.join(versions)}, as of {first.price_date}; facts: {first.facts_version} of {first.facts_date}."
    )


def _document(known: "Known") -> dict[str, str | int | float | list[str] | date | None]:
    model, prices = known.model, known.model.price_usd_per_million
    start, dear_in, dear_out = known.long_context or (None, None, None)
    return {
        "id": model.id, "provider": known.provider, "seller": _seller(known), "category": model.category,
        "tier": model.tier, "context_window": model.context_window, "max_output_tokens": model.max_output_tokens,
        "capabilities": sorted(model.capabilities), "refuses": sorted(model.refuses),
        "input_usd_per_million": prices.input,
        "output_usd_per_million": prices.output, "cache_read_usd_per_million": prices.cache_read,
        "cache_write_usd_per_million": prices.cache_write, "long_context_from_tokens": start,
        "long_context_input_usd_per_million": dear_in, "long_context_output_usd_per_million": dear_out,
        "price_version": known.price_version, "price_date": str(known.price_date),
        "facts_version": known.facts_version, "facts_date": str(known.facts_date),
    }  # fmt: skip


def _yaml(known: "Known") -> list[str]:
    import yaml

    model = known.model
    prices = model.price_usd_per_million.model_dump(exclude_none=True)
    document = {
        "id": model.id, "category": model.category, "tier": model.tier, "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens, "capabilities": sorted(model.capabilities),
        **({"refuses": sorted(model.refuses)} if model.refuses else {}), "price_usd_per_million": prices,
    }  # fmt: skip
    text = yaml.safe_dump([document], sort_keys=False, default_flow_style=None, width=10_000)
    lines = [f"    {line}" for line in text.splitlines()]
    if known.long_context:
        start, dear_in, dear_out = known.long_context
        lines.append(
            f"      # From {start} tokens in: input {dear_in:g}, output {dear_out:g}; counted at the price above."
        )
    return lines
