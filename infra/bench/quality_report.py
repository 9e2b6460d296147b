"""The printed tables: ours beside the published ones."""

from collections.abc import Mapping

POOLS = ("mmlu_pro", "routerbench", "llmrouter", "gsm_math_bfcl")
PUBLISHED_APGR = (
    ("random", ".50", ".50"),
    ("published best (RouteLLM)", ".603", ".622"),
    ("TF-IDF + logistic regression", ".626-.662", ".618"),
    ("clusters of embeddings", ".628-.656", ".572"),
    ("four-way ensemble", ".629-.683", ".655"),
)
PUBLISHED_SAVING = (("static mix", 11, 32), ("clusters", 47, 68), ("benchmark's name known", 55, 71))


def print_tables(figures: Mapping[str, float]) -> None:
    """Print every table to standard output."""
    print("\nRouteLLM pair (gpt-4-1106 / mixtral-8x7b), APGR        MMLU       GSM8K")
    for name, mmlu, gsm8k in PUBLISHED_APGR:
        print(f"  {name:<48} {mmlu:>9} {gsm8k:>11}")
    print(f"  {'Turnout (text features, ridge)':<48} {figures['apgr_mmlu']:>9.3f} {figures['apgr_gsm8k']:>11.3f}")

    print("\nSaving at <= 1 % / <= 3 % loss, mean of four pools, %      1 %     3 %")
    for name, one, three in PUBLISHED_SAVING:
        print(f"  {'published, in hindsight: ' + name:<52} {one:>6} {three:>7}")
    for name, key in (
        ("Turnout, in hindsight", "hindsight_saving_at"),
        ("Turnout, trade-off from training data", "saving_at"),
        ("one fixed mix, from training data", "static_saving_at"),
    ):
        print(f"  {name:<52} {_percent(figures[key + '_1pct'])} {_percent(figures[key + '_3pct'])}")

    print(
        "\nby pool, %         models queries | learned 1 %  loss | fixed 1 %  loss | learned 3 %  loss | fixed 3 %  loss"
    )
    for pool in POOLS:
        cells = [
            f"{_percent(figures[f'{kind}saving_at_{tag}_{pool}'])} {_percent(figures[f'{kind}loss_at_{tag}_{pool}'])}"
            for tag in ("1pct", "3pct")
            for kind in ("", "static_")
        ]
        print(
            f"  {pool:<16} {figures[f'models_{pool}']:>6.0f} {figures[f'queries_{pool}']:>7.0f} | " + " | ".join(cells)
        )
    kept = f"{figures['compliance_1pct']:.2f} at 1 %, {figures['compliance_3pct']:.2f} at 3 %"
    print(f"  compliance (share of pools whose loss is within the budget + 0.5 points): {kept}")

    if "task_accuracy_unseen_source" in figures:
        print("\nTask type from text, on sources left out (published: .55)")
        for key, value in figures.items():
            if key.startswith("task_"):
                print(f"  {key.removeprefix('task_'):<52} {value:.3f}")


def _percent(share: float) -> str:
    return f"{100 * share:>6.1f}"
