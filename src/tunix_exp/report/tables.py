"""The comparison of base and trained model as a table, and the page that a person reads first."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from tunix_exp.evidence import layout
from tunix_exp.evidence.strict_json import read_json_object
from tunix_exp.evidence.summary import headline

_FILES = {
    layout.MANIFEST: "what was run, on what, with which result, and the sha256 of every other file",
    "README.md": "this page",
    layout.CURVES: "loss, learning rate, gradient norm and throughput over the steps",
    layout.EVAL_SUMMARY: "the scores of base and trained model, and their comparison",
    layout.BASE_PREDICTIONS: "every answer of the base model, as it was scored",
    layout.TRAINED_PREDICTIONS: "every answer of the trained model, as it was scored",
    layout.METRICS: "one line per logged step",
    layout.HELDOUT: "the loss on the held-out items during the training",
    layout.DATA_CARD: "the training set: rows, lengths, what was cut or dropped",
    "example.txt": "one training example as the model sees it, its loss mask marked",
    layout.PLAN: "the memory plan and the compiled step's own figures",
    "device_check.txt": "the devices, and what they computed when they were tried",
    "env_info.txt": "interpreter, packages, operating system, processor",
    layout.LOG: "what the console said",
    layout.CONFIG: "the whole config, resolved",
    layout.SOURCE_PATCH: "how the code differed from the commit",
    layout.LOCK: "the lock of the packages that the code asks for",
    layout.FAILURE_ANALYSIS: "why the run failed, and what to do",
    ".hydra/": "the config as Hydra composed it, and the overrides",
    layout.CHECKPOINTS: "parameters and optimizer state, for resuming",
    layout.TENSORBOARD: "the same curves for TensorBoard",
}


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the comparison; cells are already text."""

    group: str
    name: str
    n_items: str
    base: str
    trained: str
    difference: str


def comparison_table(summary: dict[str, Any]) -> Table:
    """The base model against the trained one: exact match overall and per group, and the held-out loss.

    Without a trained model the table has the base model's column alone.
    """
    has_trained = summary["trained"] is not None
    table = Table(title="Exact match on held-out items", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("items", justify="right")
    table.add_column("base", justify="right")
    if has_trained:
        table.add_column("trained", justify="right", style="bold")
        table.add_column("difference", justify="right")
        table.caption = _flips(summary["comparison"])
        table.caption_justify = "left"
    group = None
    for row in _rows(summary):
        if row.group != group:
            table.add_section()
            group = row.group
        cells = [row.name, row.n_items, row.base, row.trained, row.difference]
        table.add_row(*(cells if has_trained else cells[:3]))
    return table


def readme(run: Path) -> str:
    """The Markdown page of the run directory `run`, from the files that lie in it by now.

    It claims no end of the run: the page itself is one of the files that the run's last step verifies.
    """
    manifest = read_json_object(run / layout.MANIFEST, file=layout.MANIFEST)
    parts = [_heading(manifest)]
    if (run / layout.EVAL_SUMMARY).exists():
        summary = read_json_object(run / layout.EVAL_SUMMARY, file=layout.EVAL_SUMMARY)
        parts += [f"**{headline(summary).text}**", _markdown_comparison(summary)]
    if (run / layout.CURVES).exists():
        parts.append(f"![Loss, learning rate, gradient norm and throughput]({layout.CURVES})")
    parts += [_what_was_run(manifest), _how_to_reproduce(manifest), _how_to_verify(), _what_lies_here(run)]
    return "\n\n".join(parts) + "\n"


def _rows(summary: dict[str, Any]) -> Iterator[_Row]:
    base, trained = summary["base"], summary["trained"]
    card = base["scorecard"]
    yield _score_row("", "all items", card, None if trained is None else trained["scorecard"])
    for group in ("section", "category", "difficulty"):
        for name, part in card[f"per_{group}"].items():
            other = None if trained is None else trained["scorecard"][f"per_{group}"][name]
            yield _score_row(group, f"{group} {name}", part, other)
    before = base["heldout_loss_nats"]
    after = None if trained is None else trained["heldout_loss_nats"]
    yield _Row(
        group="loss",
        name="held-out loss, nats per token",
        n_items=str(card["n_items"]),
        base=f"{before:.4f}",
        trained="" if after is None else f"{after:.4f}",
        difference="" if after is None else f"{after - before:+.4f}",
    )


def _score_row(group: str, name: str, base: dict[str, Any], trained: dict[str, Any] | None) -> _Row:
    before = base["primary_score"]
    after = None if trained is None else trained["primary_score"]
    return _Row(
        group=group,
        name=name,
        n_items=str(base["n_items"]),
        base=f"{100 * before:.1f} %",
        trained="" if after is None else f"{100 * after:.1f} %",
        difference="" if after is None else f"{100 * (after - before):+.1f} points",
    )


def _flips(comparison: dict[str, Any]) -> str:
    right, wrong = comparison["flips_to_right"], comparison["flips_to_wrong"]
    return f"Of {comparison['n_items']} items {right} became right and {wrong} became wrong."


def _markdown_comparison(summary: dict[str, Any]) -> str:
    trained = summary["trained"]
    header = ["", "items", "base"] + ([] if trained is None else ["trained", "difference"])
    body = [
        [row.name, row.n_items, row.base, row.trained, row.difference][: len(header)]
        for row in _rows(summary)
    ]
    table = _markdown_table(header, body, right_from=1)
    return table if trained is None else f"{table}\n\n{_flips(summary['comparison'])}"


def _heading(manifest: dict[str, Any]) -> str:
    title = f"# {manifest['name']}"
    if manifest["error"] is None:
        return title
    error = manifest["error"]
    return f"{title}\n\n**This run {manifest['status']}** in stage `{error['stage']}`: {error['message']}"


def _what_was_run(manifest: dict[str, Any]) -> str:
    code, model, data, items = (manifest[key] for key in ("code", "model", "data", "eval"))
    facts = [
        ("run", f"`{manifest['run_id']}`, mode `{manifest['mode']}`, begun {manifest['started_at']}"),
        ("code", _code(code)),
    ]
    if model is not None:
        facts.append(("model", f"`{model['name']}` from `{model['weights']}`{_parameters(model)}"))
    if data is not None:
        facts.append(
            ("training data", f"`{data['name']}` from `{data['source']}`, {data['rows']:,} rows{_hash(data)}")
        )
    if items is not None and items["kind"] == "items":
        facts.append(
            (
                "held-out items",
                f"`{items['name']}` from `{items['source']}`, {items['rows']:,} items{_hash(items)}",
            )
        )
    facts.append(("seed", str(manifest["seed"])))
    if manifest["devices"] is not None:
        facts.append(("devices", ", ".join(dict.fromkeys(manifest["devices"]))))
    if manifest["peak_memory_bytes"] is not None:
        facts.append(("peak memory", f"{manifest['peak_memory_bytes'] / 2**30:.2f} GiB"))
    if manifest["tokens_per_s"] is not None:
        facts.append(("throughput", f"{manifest['tokens_per_s']:,.0f} tokens/s"))
    return "## What was run\n\n" + _markdown_table(["", ""], [list(fact) for fact in facts])


def _code(code: dict[str, Any]) -> str:
    if code["git_commit"] is None:
        return f"tunix_exp {code['version']}, outside a git checkout"
    changed = f", changed (see `{layout.SOURCE_PATCH}`)" if code["git_dirty"] else ""
    return f"tunix_exp {code['version']}, commit `{code['git_commit'][:12]}`{changed}"


def _parameters(model: dict[str, Any]) -> str:
    revision = "" if model["revision"] is None else f" at `{model['revision'][:12]}`"
    return revision + (
        "" if model["parameter_count"] is None else f", {model['parameter_count']:,} parameters"
    )


def _hash(section: dict[str, Any]) -> str:
    return f", sha256 `{section['sha256'][:12]}…`"


def _how_to_reproduce(manifest: dict[str, Any]) -> str:
    code = manifest["code"]
    lines = [] if code["git_commit"] is None else [f"git checkout {code['git_commit']}"]
    if code["git_dirty"]:
        lines.append(f"git apply --allow-empty {layout.SOURCE_PATCH}  # of this directory")
    lines += ["uv sync --locked", shlex.join(manifest["command"])]
    return (
        "## How to reproduce it\n\n```sh\n" + "\n".join(lines) + "\n```\n\n"
        "The same config, seed, versions and kind of machine give the same losses and predictions to the bit."
    )


def _how_to_verify() -> str:
    return (
        "## How to verify it\n\n```sh\npython -m tunix_exp verify PATH  # of this directory\n```\n\n"
        "This reads every file again, compares its hash, extracts and scores every answer anew and "
        f"recomputes the scores. Whether the run finished stands in `{layout.MANIFEST}` under `status`."
    )


def _what_lies_here(run: Path) -> str:
    present = {layout.MANIFEST, "README.md"} | {_entry(name) for name in layout.files_of(run)}
    known = [name for name in _FILES if name in present]
    rows = [[f"`{name}`", _FILES[name]] for name in known]
    rows += [[f"`{name}`", "not made by this version"] for name in sorted(present - set(known))]
    return "## What lies here\n\n" + _markdown_table(["file", "holds"], rows)


def _entry(name: str) -> str:
    """The table's entry for a file: itself, or the folder that is described as a whole."""
    folder = name.split("/")[0] + "/"
    return folder if folder in _FILES else name


def _markdown_table(header: list[str], rows: list[list[str]], *, right_from: int | None = None) -> str:
    rule = [
        "---:" if right_from is not None and place >= right_from else "---" for place in range(len(header))
    ]
    lines = [header, rule, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
