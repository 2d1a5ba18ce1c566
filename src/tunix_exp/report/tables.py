"""The comparison of base and trained model as a table, and the page that a person reads first."""

import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tunix_exp.evidence import layout
from tunix_exp.evidence.harness import harness_in_words
from tunix_exp.evidence.kinds import config, eval_summary, harness, pages, source
from tunix_exp.evidence.kinds.kind import Kind
from tunix_exp.evidence.kinds.read import object_if_any
from tunix_exp.evidence.kinds.registry import kinds_of
from tunix_exp.evidence.strict_json import read_json_object
from tunix_exp.evidence.summary import result_in_words
from tunix_exp.report.harness import harness_columns, harness_rows
from tunix_exp.report.markdown import named, verbatim
from tunix_exp.report.markdown import table as table_of
from tunix_exp.scoring.paired import GROUPS, p_text, points


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the comparison; cells are already text, the last four empty without a trained model."""

    group: str
    name: str
    n_items: str
    base: str
    trained: str = ""
    difference: str = ""
    interval: str = ""
    p: str = ""

    @property
    def cells(self) -> list[str]:
        return [self.name, self.n_items, self.base, self.trained, self.difference, self.interval, self.p]


_COLUMNS = ("", "items", "base", "trained", "change", "95 % interval", "p")
_WITHOUT_TRAINED = 3
_NAMES_ALONE = 60


def comparison_table(summary: dict[str, Any]) -> Table:
    """The base model against the trained one: exact match overall and per group, and the held-out loss.

    Without a trained model the table has the base model's column alone.
    """
    columns, is_compared = _columns(summary), summary["comparison"] is not None
    # narrow, as it is to fit a terminal of 80 columns
    table = Table(
        title="Exact match on held-out items" + (", and its change in points" if is_compared else ""),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for column in columns:
        style = "bold" if column == "trained" else None
        # a long name is folded, not cut
        overflow = "ellipsis" if column else "fold"
        justify = "right" if column else "left"
        table.add_column(column, justify=justify, style=style, no_wrap=bool(column), overflow=overflow)
    if not is_compared:
        table.columns[0].min_width = _NAMES_ALONE  # else the sentences below have no room
    how = [_how_computed(summary["comparison"])] if is_compared else []
    # the sentences are the last thing that a run says of its result
    table.caption = "\n" + "\n\n".join([*how, *result_in_words(summary)])
    table.caption_justify = "left"
    table.caption_style = ""
    group = None
    for row in _rows(summary):
        if row.group != group:
            table.add_section()
            group = row.group
        table.add_row(*row.cells[: len(columns)])
    return table


def adapter_text(adapter: dict[str, Any]) -> str:
    """The manifest's adapter in one line."""
    return (
        f"{adapter['scaling']} of rank {adapter['rank']}, alpha {adapter['alpha']:g}, beside "
        f"{', '.join(adapter['targets'])}: {adapter['parameter_count']:,} parameters are trained, "
        f"the model is frozen in {adapter['frozen_dtype']}"
    )


def readme(run: Path) -> str:
    """The Markdown page of the run directory `run`, from the files that lie in it by now.

    It claims no end of the run: the page itself is one of the files that the run's last step verifies.
    """
    manifest = read_json_object(run / layout.MANIFEST, file=layout.MANIFEST)
    parts = [_heading(manifest), *result_of(run), *_findings(manifest)]
    if (run / pages.CURVES.path).exists():
        parts.append(f"![Loss, learning rate, gradient norm and throughput]({pages.CURVES.path})")
    parts += [what_was_run(manifest), _how_to_reproduce(manifest), _how_to_verify(), _what_lies_here(run)]
    return "\n\n".join(parts) + "\n"


def result_of(run: Path) -> list[str]:
    """The result in sentences and in a table; nothing where nothing was scored."""
    if (run / harness.SUMMARY.path).exists():
        summary = read_json_object(run / harness.SUMMARY.path, file=harness.SUMMARY.path)
        rows = [[named(row[0]), *row[1:]] for row in harness_rows(summary)]
        table = table_of(list(harness_columns(summary)), rows, right_from=2)
        return [f"**{harness_in_words(summary)}**", table]
    if not (run / eval_summary.KIND.path).exists():
        return []
    summary = read_json_object(run / eval_summary.KIND.path, file=eval_summary.KIND.path)
    return [*(f"**{sentence}**" for sentence in result_in_words(summary)), _markdown_comparison(summary)]


def _columns(summary: dict[str, Any]) -> list[str]:
    return list(_COLUMNS if summary["trained"] is not None else _COLUMNS[:_WITHOUT_TRAINED])


def _rows(summary: dict[str, Any]) -> Iterator[_Row]:
    card, comparison = summary["base"]["scorecard"], summary["comparison"]
    if comparison is None:
        yield _base_row("", "all items", card)
    else:
        yield _score_row("", "all items", comparison, comparison["mcnemar_p"])
    for group in GROUPS:
        for name, part in card[f"per_{group}"].items():
            if comparison is None:
                yield _base_row(group, f"{group} {name}", part)
            else:
                pair = comparison[f"per_{group}"][name]
                yield _score_row(group, f"{group} {name}", pair, pair["p_corrected"])
    yield _loss_row(summary)


def _base_row(group: str, name: str, card: dict[str, Any]) -> _Row:
    return _Row(group, name, str(card["n_items"]), _percent(card["primary_score"]))


def _score_row(group: str, name: str, pair: dict[str, Any], p: float) -> _Row:
    return _Row(
        group=group,
        name=name,
        n_items=str(pair["n_items"]),
        base=_percent(pair["base_accuracy"]),
        trained=_percent(pair["trained_accuracy"]),
        difference=points(pair["difference"]),
        interval="…".join(map(points, pair["interval_95"])),
        p=p_text(p).removeprefix("= "),
    )


def _loss_row(summary: dict[str, Any]) -> _Row:
    name, n_items = "held-out nats per token", str(summary["base"]["scorecard"]["n_items"])
    if summary["comparison"] is None:
        return _Row("loss", name, n_items, f"{summary['base']['heldout_loss_nats']:.4f}")
    loss = summary["comparison"]["heldout_loss"]
    ends = loss["interval_95"]
    return _Row(
        group="loss",
        name=name,
        n_items=n_items,
        base=f"{loss['base_nats']:.4f}",
        trained=f"{loss['trained_nats']:.4f}",
        difference=f"{loss['difference_nats']:+.4f}",
        interval="" if ends is None else "…".join(f"{end:+.3f}" for end in ends),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _how_computed(comparison: dict[str, Any]) -> str:
    looks = sum(len(comparison[f"per_{group}"]) for group in GROUPS)
    corrected = f"; the {looks} groups' p are corrected together (Holm)" if looks else ""
    return f"Paired bootstrap of {comparison['resamples']:,} draws, exact McNemar{corrected}."


def _markdown_comparison(summary: dict[str, Any]) -> str:
    columns = _columns(summary)
    body = [[named(row.name), *row.cells[1 : len(columns)]] for row in _rows(summary)]
    table = table_of(columns, body, right_from=1)
    comparison = summary["comparison"]
    return table if comparison is None else f"{table}\n\n{_how_computed(comparison)}"


def _heading(manifest: dict[str, Any]) -> str:
    title = f"# {named(manifest['name'])}"
    if manifest["error"] is None:
        return title
    error = manifest["error"]
    says = f"**This run {manifest['status']}** in stage `{error['stage']}`: {named(error['message'])}"
    return f"{title}\n\n{says}"


def _findings(manifest: dict[str, Any]) -> list[str]:
    """What was odd, a line each; nothing where nothing was."""
    if not manifest["findings"]:
        return []
    listed = "\n".join(f"* `{one['where']}`: {one['sentence']}" for one in manifest["findings"])
    what = "Odd, and true as far as this run knows. They fail nothing."
    return [f"## Findings ({len(manifest['findings'])})\n\n{what}\n\n{listed}"]


def what_was_run(manifest: dict[str, Any]) -> str:
    """The section with what the manifest says of code, model, data and devices."""
    code, model, data, items = (manifest[key] for key in ("code", "model", "data", "eval"))
    facts = [
        ("run", f"{verbatim(manifest['run_id'])}, mode `{manifest['mode']}`, begun {manifest['started_at']}"),
        ("code", _code(code)),
    ]
    if model is not None:
        facts.append(
            ("model", f"{verbatim(model['name'])} from {verbatim(model['weights'])}{_parameters(model)}")
        )
    if manifest["adapter"] is not None:
        facts.append(("adapter", adapter_text(manifest["adapter"])))
    if data is not None:
        facts.append(
            (
                "training data",
                f"{_set(data)}, {data['rows']:,} rows{_hash(data)}",
            )
        )
    if items is not None and items["kind"] == "items":
        facts.append(
            (
                "held-out items",
                f"{_set(items)}, {items['rows']:,} items{_hash(items)}",
            )
        )
    if items is not None and items["kind"] == "harness":
        asked = (
            f"{', '.join(map(named, items['tasks']))} of lm-eval {items['lm_eval']}, {items['rows']:,} items"
        )
        facts.append(("tasks", f"{asked}{_hash(items)}"))
    facts.append(("seed", str(manifest["seed"])))
    if manifest["devices"] is not None:
        facts.append(("devices", ", ".join(dict.fromkeys(manifest["devices"]))))
    if manifest["peak_memory_bytes"] is not None:
        where = {"device": "on a device", "process": "in the process"}[manifest["peak_memory_of"]]
        held = f"{manifest['peak_memory_bytes'] / 2**30:.2f} GiB {where}"
        facts.append(("peak memory", held))
    if manifest["resumed_from"] is not None:
        facts.append(("resumed from", _resumed_from(manifest["resumed_from"], manifest["steps_done"])))
    if manifest["tokens_per_s"] is not None:
        facts.append(("throughput", _throughput(manifest["tokens_per_s"], manifest["throughput"])))
    return "## What was run\n\n" + table_of(["", ""], [list(fact) for fact in facts])


def _code(code: dict[str, Any]) -> str:
    if code["git_commit"] is None:
        return f"tunix_exp {code['version']}, outside a git checkout"
    changed = f", changed (see `{source.PATCH.path}`)" if code["git_dirty"] else ""
    return f"tunix_exp {code['version']}, commit `{code['git_commit'][:12]}`{changed}"


def _resumed_from(parent: dict[str, Any], steps_done: int | None) -> str:
    text = f"`{parent['run_id']}` at step {parent['step']:,}"
    is_last = parent["step"] == steps_done
    return f"{text}, the last: its curves are that run's, and no step was taken here" if is_last else text


def _throughput(tokens_per_s: float, rates: dict[str, float]) -> str:
    text = f"{tokens_per_s:,.0f} tokens/s, {rates['padded_tokens_per_s']:,.0f} with the padding; "
    text += f"{rates['step_s']:.3g} s a step"
    return f"{text}, MFU {100 * rates['mfu']:.1f} %" if "mfu" in rates else text


def _parameters(model: dict[str, Any]) -> str:
    revision = "" if model["revision"] is None else f" at `{model['revision'][:12]}`"
    return revision + (
        "" if model["parameter_count"] is None else f", {model['parameter_count']:,} parameters"
    )


def _set(section: dict[str, Any]) -> str:
    return f"{verbatim(section['name'])} from {verbatim(section['source'])}"


def _hash(section: dict[str, Any]) -> str:
    return f", sha256 `{section['sha256'][:12]}…`"


def reproduction(manifest: dict[str, Any]) -> str:
    """The commands that run the experiment of `manifest` again, a line each."""
    code = manifest["code"]
    lines = [] if code["git_commit"] is None else [f"git checkout {code['git_commit']}"]
    if code["git_dirty"]:
        lines.append(f"git apply --allow-empty {source.PATCH.path}  # of this directory")
    asks_harness = manifest["eval"] is not None and manifest["eval"]["kind"] == "harness"
    sync = "uv sync --locked --extra harness" if asks_harness else "uv sync --locked"
    return "\n".join([*lines, sync, shlex.join(manifest["command"])])


def _how_to_reproduce(manifest: dict[str, Any]) -> str:
    return (
        "## How to reproduce it\n\n```sh\n" + reproduction(manifest) + "\n```\n\n"
        "The same config, seed, versions and kind of machine give the same losses and predictions to the bit."
    )


def _how_to_verify() -> str:
    return (
        "## How to verify it\n\n```sh\npython -m tunix_exp verify PATH  # of this directory\n```\n\n"
        "This reads every file again, compares its hash, extracts and scores every answer anew and "
        f"recomputes the scores. Whether the run finished stands in `{layout.MANIFEST}` under `status`."
    )


def _what_lies_here(run: Path) -> str:
    # the manifest is there already, the three others come
    ends = {layout.MANIFEST, layout.SUMS, pages.README.path, pages.REPORT.path}
    known, strangers = of_kinds(ends | set(layout.files_of(run)), run)
    rows = [[verbatim(kind.path), kind.holds] for kind in known]
    rows += [[verbatim(name), "not made by this version"] for name in strangers]
    return "## What lies here\n\n" + table_of(["file", "holds"], rows)


def of_kinds(names: Collection[str], run: Path) -> tuple[dict[Kind, list[str]], list[str]]:
    """The files of `run` by their kinds, in the order of these, and those that are of none."""
    kinds = kinds_of(object_if_any(config.KIND, run) or {})
    known = {kind: sorted(name for name in names if kind.has(name)) for kind in kinds}
    known = {kind: files for kind, files in known.items() if files}
    return known, sorted(set(names) - {name for files in known.values() for name in files})
