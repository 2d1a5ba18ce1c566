"""That the training is told alike by metrics, log, board and checkpoints."""

import re
from collections.abc import Iterator

from tunix_exp.evidence import layout
from tunix_exp.evidence.board import FINAL, HELDOUT, as_float32, final_figures
from tunix_exp.evidence.console import FIGURES, OTHERS, printable_text
from tunix_exp.evidence.metrics import (
    contradictions,
    heldout_line,
    heldout_steps,
    logged_steps,
    rates_disagreement,
    step_disagreement,
    step_line,
)
from tunix_exp.evidence.opened import Disagreement, OpenedRun, lookup
from tunix_exp.evidence.strict_json import BrokenFile

_LINE = re.compile(r" *(\d+\.\d{3})s(?:([= ]) (.*))?")


def steps(run: OpenedRun) -> Iterator[Disagreement]:
    """Every step that falls due is there, up to the last of the budget."""
    done = run.manifest.steps_done
    if done is None:
        return  # the rules have said so
    after = 0 if run.manifest.resumed_from is None else run.manifest.resumed_from.step
    every = run.count("training.log_every_steps")
    if every is None:
        raise BrokenFile(layout.CONFIG, "`training.log_every_steps` is null")
    due = logged_steps(after=after, last=done, every=every)
    wrong = step_disagreement(run.metrics, due)
    if wrong is not None:
        yield Disagreement(layout.METRICS, wrong)
    budget = run.count("training.steps")
    if budget is not None and done != budget:
        yield Disagreement(
            layout.MANIFEST, f"`steps_done` is {done}, but config.json has training.steps={budget}"
        )
    every = run.count("eval.heldout_every_steps") if run.evaluates else None
    # At the step that it went on from too: the run before may have ended between checkpoint and loss.
    wrong = step_disagreement(run.heldout, heldout_steps(after=max(after - 1, 0), last=done, every=every))
    if wrong is not None:
        yield Disagreement(layout.HELDOUT, wrong)
    parts = [name.split("/") for name in run.files if name.startswith(layout.CHECKPOINTS)]
    newest = max((int(part[1]) for part in parts if len(part) > 2 and part[1].isdigit()), default=done)
    if newest != done:
        what = f"the newest is of step {newest}, but {done} steps were done"
        yield Disagreement(layout.CHECKPOINTS, what)


def rates(run: OpenedRun) -> Iterator[Disagreement]:
    """Rates are what the counters give, of each line and of the whole run, and no more than the plan's."""
    says = run.manifest
    after = 0 if says.resumed_from is None else says.resumed_from.step
    work = lookup(run.json(layout.PLAN), "work", layout.PLAN)
    flops, peak_flops = (lookup(work, key, layout.PLAN) for key in ("model_flops", "peak_flops_per_s"))
    wrong = list(contradictions(run.metrics, after=after, flops=flops, peak_flops=peak_flops))
    for what in wrong:
        yield Disagreement(layout.METRICS, what)
    if wrong or not run.metrics or says.tokens_per_s is None or not isinstance(says.throughput, dict):
        return  # said just now, or by the rules
    whole = {"tokens_per_s": says.tokens_per_s, **says.throughput}
    for what in rates_disagreement(run.metrics, whole, after=after):
        yield Disagreement(layout.MANIFEST, what)


def curves(run: OpenedRun) -> Iterator[Disagreement]:
    """The board's curves are the metrics, and its last figures the headline's."""
    rows = [("", row) for row in run.metrics] if run.has(layout.METRICS) else []
    rows += [(HELDOUT, row) for row in run.heldout]
    due: dict[str, list[tuple[int, float]]] = {}
    for prefix, row in rows:
        for key, value in row.items():
            if key != "step":
                due.setdefault(prefix + key, []).append((row["step"], as_float32(value)))
    shown = run.board.scalars
    result = run.manifest.headline
    final = {} if result is None else {tag: as_float32(value) for tag, value in final_figures(result).items()}
    for tag in sorted(due.keys() | shown.keys()):
        if tag.startswith(FINAL):
            if tag not in final or [value for _, value in shown[tag]] != [final[tag]]:
                yield Disagreement(layout.TENSORBOARD, f"`{tag}` is not the headline of the manifest")
        elif shown.get(tag) != due.get(tag):
            source = layout.HELDOUT if tag.startswith(HELDOUT) else layout.METRICS
            yield Disagreement(layout.TENSORBOARD, f"the curve `{tag}` differs from {source}")
    for tag in sorted(final.keys() - shown.keys()):
        yield Disagreement(layout.TENSORBOARD, f"`{tag}` of the manifest's headline is missing")


def log(run: OpenedRun) -> Iterator[Disagreement]:
    """Every line has its time, and time goes on. How the run ended, the manifest says and no word in here."""
    since_s = 0.0
    for number, (offset_s, _, _) in enumerate(_lines(run), start=1):
        if offset_s is None or offset_s < since_s:
            yield Disagreement(layout.LOG, f"line {number}: does not go on in time")
        else:
            since_s = offset_s


def told(run: OpenedRun) -> Iterator[Disagreement]:
    """The log tells the figures of every logged step, and the result in its words."""
    due = [step_line(row) for row in run.metrics] if run.has(layout.METRICS) else []
    due += [heldout_line(row) for row in run.heldout]
    figures_said = {text for _, mark, text in _lines(run) if mark == FIGURES}
    for line in sorted(set(due) - figures_said):
        yield Disagreement(layout.LOG, f"does not say `{line}`, as the metrics do")
    for line in sorted(figures_said - set(due)):
        yield Disagreement(layout.LOG, f"says `{line}`, and the metrics do not")
    said = _letters("".join(text for _, _, text in _lines(run)))
    for file, part in (
        (layout.EVAL_SUMMARY, "comparison"),
        (layout.EVAL_SUMMARY, "baseline"),
        (layout.HARNESS_SUMMARY, "comparison"),
    ):
        summary = run.json(file) if run.has(file) else {}
        if part not in summary or summary[part] is None:
            continue  # the check of the summary knows whether it may
        if _letters(printable_text(str(lookup(summary, f"{part}.sentence", file)))) not in said:
            yield Disagreement(layout.LOG, f"does not say the sentence of `{part}` in {file}")


def _letters(text: str) -> str:
    """The text without white space: the table that a sentence stands below breaks lines, and long words."""
    return "".join(text.split())


def _lines(run: OpenedRun) -> Iterator[tuple[float | None, str, str]]:
    """The seconds since the run began, where a line has them, its mark, and its text."""
    for line in run.text(layout.LOG).splitlines():
        match = _LINE.fullmatch(line)
        yield (None, OTHERS, line) if match is None else (float(match[1]), match[2] or OTHERS, match[3] or "")
