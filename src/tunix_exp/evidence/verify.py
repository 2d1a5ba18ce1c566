"""Whether a run directory is what it says: every file re-read, every number computed again.

Needs nothing but the directory: no JAX, no model, no network.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.board import FINAL, HELDOUT, as_float32, final_figures, read_scalars
from tunix_exp.evidence.manifest import (
    ItemsEval,
    RunManifest,
    Status,
    config_hash,
    parse_manifest,
    rule_breaches,
)
from tunix_exp.evidence.metrics import (
    HELDOUT_KEYS,
    KEYS,
    heldout_steps,
    logged_steps,
    read_metrics,
    step_disagreement,
)
from tunix_exp.evidence.strict_json import BrokenFile, read_json_object, read_jsonl, read_text
from tunix_exp.evidence.summary import eval_summary, headline
from tunix_exp.scoring.paired import Evaluation, ItemLoss
from tunix_exp.scoring.scorecard import Prediction, score

# A failed run may not say any of these: its log must not be taken for that of a finished one.
SUCCESS_WORDS = ("completed", "success", "successful", "successfully")

# A resolved config and the manifest name these twice, and must name the same.
_NAMED_TWICE = (
    "name",
    "seed",
    "mode.name",
    "model.name",
    "model.family",
    "model.weights",
    "data.name",
    "data.source",
    "eval.kind",
    "eval.name",
    "eval.source",
)

# The data card's keys, and the manifest's for the same fact.
_CARD_NAMES = (
    ("train.name", "data.name"),
    ("train.sha256", "data.sha256"),
    ("statistics.rows_kept", "data.rows"),
    ("eval.name", "eval.name"),
    ("eval.sha256", "eval.sha256"),
    ("eval.rows_read", "eval.rows"),
)

_TEXT_SUFFIXES = (".txt", ".md", ".json", ".jsonl", ".yaml")
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A file of the run directory, and what is wrong with it."""

    file: str
    what: str


def verify(run: Path, *, as_status: Status | None = None) -> list[Disagreement]:
    """Everything in which the run directory contradicts itself; empty when it holds.

    `as_status` asks whether the run could claim that status, whatever its manifest says.
    """
    if not run.is_dir():
        raise UserError(
            "there is no run directory", where=str(run), remedy="name a directory that a run has made"
        )
    try:
        manifest = parse_manifest(read_text(run / layout.MANIFEST, file=layout.MANIFEST))
    except FileNotFoundError:
        return [Disagreement(layout.MANIFEST, "is missing: no run has claimed this directory")]
    except UserError as error:
        return [Disagreement(layout.MANIFEST, error.what)]
    status = manifest.status if as_status is None else as_status
    if status == "running":
        return [Disagreement(layout.MANIFEST, "the run did not finish: its status is still `running`")]
    return list(dict.fromkeys(_checked(_Run(run, manifest, status))))


def verify_tree(path: Path) -> dict[Path, list[Disagreement]]:
    """What `verify` says of every run at or below `path`, in order of their paths.

    A folder in which Hydra started a job that never claimed it counts as a run, and disagrees.
    """
    runs = list(runs_below(path)) if path.is_dir() else []
    if not runs:
        raise UserError(
            "there is no run directory at or below the path",
            where=str(path),
            remedy="name a run directory, or a directory of runs such as outputs/NAME or multirun/NAME",
        )
    return {run: verify(run) for run in runs}


def runs_below(path: Path) -> Iterator[Path]:
    """Every run directory at or below `path`, sorted; a folder that Hydra alone has touched counts."""
    for folder, names, files in os.walk(path):
        names.sort()
        if layout.MANIFEST in files or ".hydra" in names:
            names.clear()
            yield Path(folder)


@dataclass(frozen=True)
class _Run:
    root: Path
    manifest: RunManifest
    status: Status

    @property
    def evaluates(self) -> bool:
        return isinstance(self.manifest.eval, ItemsEval)

    @cached_property
    def files(self) -> set[str]:
        return set(layout.files_of(self.root)) | {layout.MANIFEST}

    @cached_property
    def config(self) -> dict[str, Any]:
        return self.json(layout.CONFIG)

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        return read_metrics(self.root / layout.METRICS, file=layout.METRICS, keys=KEYS)

    @cached_property
    def heldout(self) -> list[dict[str, Any]]:
        if layout.HELDOUT not in self.files:
            return []
        return read_metrics(self.root / layout.HELDOUT, file=layout.HELDOUT, keys=HELDOUT_KEYS)

    def has(self, name: str) -> bool:
        return layout.has_file(name, self.files)

    def json(self, name: str) -> dict[str, Any]:
        return read_json_object(self.root / name, file=name)

    def predictions(self, name: str) -> list[Prediction]:
        rows = read_jsonl(self.root / name, file=name)
        return [Prediction.from_dict(row, where=f"line {line}") for line, row in enumerate(rows, start=1)]

    def losses(self, name: str) -> list[ItemLoss]:
        rows = read_jsonl(self.root / name, file=name)
        return [ItemLoss.from_dict(row, where=f"line {line}") for line, row in enumerate(rows, start=1)]

    def evaluation(self, predictions: str, losses: str) -> Evaluation:
        return Evaluation(self.predictions(predictions), self.losses(losses))

    def setting(self, key: str) -> Any:
        return _lookup(self.config, key, layout.CONFIG)

    def count(self, key: str) -> int | None:
        value = self.setting(key)
        if value is not None and (type(value) is not int or value < 1):
            raise BrokenFile(layout.CONFIG, f"`{key}` is {value!r}, not a count")
        return value


Check = Callable[[_Run], Iterator[Disagreement]]


def _checked(run: _Run) -> Iterator[Disagreement]:
    for file, needed, check in _CHECKS:
        if not all(run.has(name) for name in needed):
            continue  # that it is missing has been said already
        if run.status != "completed" and check not in _FOR_EVERY_STATUS:
            continue
        try:
            yield from check(run)
        except BrokenFile as broken:
            yield Disagreement(broken.file, broken.finding)
        except UserError as error:
            yield Disagreement(file, error.what if error.where is None else f"{error.where}: {error.what}")


def _rules(run: _Run) -> Iterator[Disagreement]:
    for breach in rule_breaches(run.manifest, status=run.status):
        yield Disagreement(layout.MANIFEST, breach)


def _presence(run: _Run) -> Iterator[Disagreement]:
    mode = run.manifest.mode
    if mode is None:
        # only a config that was refused leaves this open: what lies there is what any failed run has
        mode = "full"
    for name in sorted(layout.required_files(run.status, mode, evaluates=run.evaluates)):
        if not run.has(name):
            yield Disagreement(name, f"is missing in a {run.status} run of mode {mode}")
    for name in sorted(layout.forbidden_files(run.status, mode, evaluates=run.evaluates)):
        if run.has(name):
            yield Disagreement(name, f"cannot come from a {run.status} run of this mode and eval ({mode})")


def _hashes(run: _Run) -> Iterator[Disagreement]:
    if run.manifest.files is None:
        return
    present = run.files - {layout.MANIFEST}
    for name in sorted(run.manifest.files.keys() - present):
        yield Disagreement(name, "is missing: the manifest has its hash")
    for name in sorted(present - run.manifest.files.keys()):
        yield Disagreement(name, "is not in the manifest: it came after the run ended")
    for name in sorted(present & run.manifest.files.keys()):
        if layout.file_digest(run.root / name) != run.manifest.files[name]:
            yield Disagreement(name, "differs from its hash in the manifest")


def _texts(run: _Run) -> Iterator[Disagreement]:
    for name in sorted(run.files):
        path = run.root / name
        # what lies in checkpoints/ is Orbax's own, empty files included
        if name.startswith(layout.CHECKPOINTS) or path.suffix not in _TEXT_SUFFIXES:
            continue
        try:
            if not read_text(path, file=name).strip():
                yield Disagreement(name, "is empty")
        except BrokenFile as broken:
            yield Disagreement(name, broken.what)
    for name in (layout.PLAN, layout.DATA_CARD):
        if run.has(name):
            run.json(name)
    if run.has(layout.CURVES) and not (run.root / layout.CURVES).read_bytes().startswith(_PNG):
        yield Disagreement(layout.CURVES, "is not a PNG picture")


def _config(run: _Run) -> Iterator[Disagreement]:
    if config_hash(run.config) != run.manifest.config_hash:
        yield Disagreement(layout.CONFIG, "is not the config of `config_hash` in the manifest")


def _named_twice(run: _Run) -> Iterator[Disagreement]:
    says = run.manifest.model_dump(mode="json")
    says["mode"] = {"name": says["mode"]}
    for key in _NAMED_TWICE:
        section, _, leaf = key.partition(".")
        if leaf and (says[section] is None or leaf not in says[section]):
            continue  # a section that this mode or kind of eval does not have
        recorded = says[section][leaf] if leaf else says[section]
        if recorded != run.setting(key):
            yield Disagreement(
                layout.MANIFEST, f"`{key}` is {recorded!r}, but config.json says {run.setting(key)!r}"
            )


def _steps(run: _Run) -> Iterator[Disagreement]:
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
    wrong = step_disagreement(run.heldout, heldout_steps(after=after, last=done, every=every))
    if wrong is not None:
        yield Disagreement(layout.HELDOUT, wrong)


def _curves(run: _Run) -> Iterator[Disagreement]:
    rows = [("", row) for row in run.metrics] if run.has(layout.METRICS) else []
    rows += [(HELDOUT, row) for row in run.heldout]
    due: dict[str, list[tuple[int, float]]] = {}
    for prefix, row in rows:
        for key, value in row.items():
            if key != "step":
                due.setdefault(prefix + key, []).append((row["step"], as_float32(value)))
    shown = read_scalars(run.root / layout.TENSORBOARD)
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


def _base_predictions(run: _Run) -> Iterator[Disagreement]:
    yield from _scored_again(run, layout.BASE_PREDICTIONS)


def _trained_predictions(run: _Run) -> Iterator[Disagreement]:
    yield from _scored_again(run, layout.TRAINED_PREDICTIONS)
    base = run.predictions(layout.BASE_PREDICTIONS)
    trained = run.predictions(layout.TRAINED_PREDICTIONS)
    if [one.id for one in trained] != [one.id for one in base]:
        yield Disagreement(layout.TRAINED_PREDICTIONS, f"has other ids than {layout.BASE_PREDICTIONS}")
        return
    for line, (before, after) in enumerate(zip(base, trained, strict=True), start=1):
        for name in ("prompt", "expected_answer", "section", "category", "difficulty"):
            if getattr(before, name) != getattr(after, name):
                what = f"line {line}: `{name}` differs from {layout.BASE_PREDICTIONS}"
                yield Disagreement(layout.TRAINED_PREDICTIONS, what)


def _scored_again(run: _Run, name: str) -> Iterator[Disagreement]:
    seen: set[str] = set()
    predictions = run.predictions(name)
    for line, one in enumerate(predictions, start=1):
        if one.id in seen:
            yield Disagreement(name, f"line {line}: the id `{one.id}` is there twice")
        seen.add(one.id)
        extracted, correct = score(one.output, one.expected_answer)
        if extracted != one.extracted_answer:
            said = f"`extracted_answer` is {one.extracted_answer!r}, the output gives {extracted!r}"
            yield Disagreement(name, f"line {line}: {said}")
        elif correct != one.correct:
            yield Disagreement(name, f"line {line}: `correct` is {one.correct}, scored again {correct}")
    items = run.manifest.eval
    if isinstance(items, ItemsEval) and len(predictions) != items.rows:
        yield Disagreement(name, f"has {len(predictions)} items, the manifest {items.rows}")


def _summary(run: _Run) -> Iterator[Disagreement]:
    says = run.json(layout.EVAL_SUMMARY)
    base = run.evaluation(*_BASE)
    present = [run.has(name) for name in _TRAINED]
    if any(present) and not all(present):
        return  # that one is missing has been said already
    trained = run.evaluation(*_TRAINED) if all(present) else None
    if not base.predictions or (trained is not None and not _are_pairs(base, trained)):
        return  # the predictions and the losses have said so
    resamples, seed = run.count("eval.resamples"), run.setting("seed")
    if resamples is None or type(seed) is not int:
        raise BrokenFile(layout.CONFIG, f"`eval.resamples` is {resamples!r} and `seed` is {seed!r}")
    due = eval_summary(base, trained, resamples=resamples, seed=seed)
    for key in sorted(due.keys() | says.keys()):
        if key == "extractor" and key in says and says[key] != due[key]:
            what = f"was scored by extractor {says[key]}, and this package has {due[key]}"
            yield Disagreement(layout.EVAL_SUMMARY, what)
        elif key not in due or key not in says or due[key] != says[key]:
            yield Disagreement(layout.EVAL_SUMMARY, f"`{key}` is not what the predictions and losses give")
    if due == says:
        yield from _headline(run, due)


def _are_pairs(base: Evaluation, trained: Evaluation) -> bool:
    ids = [one.id for one in base.predictions]
    others = (base.losses, trained.predictions, trained.losses)
    tokens = [[one.tokens for one in part.losses] for part in (base, trained)]
    return all([one.id for one in part] == ids for part in others) and tokens[0] == tokens[1]


def _base_losses(run: _Run) -> Iterator[Disagreement]:
    yield from _same_items(run, layout.BASE_LOSSES, layout.BASE_PREDICTIONS)


def _trained_losses(run: _Run) -> Iterator[Disagreement]:
    yield from _same_items(run, layout.TRAINED_LOSSES, layout.TRAINED_PREDICTIONS)
    base, trained = run.losses(layout.BASE_LOSSES), run.losses(layout.TRAINED_LOSSES)
    for line, (before, after) in enumerate(zip(base, trained, strict=False), start=1):
        if before.tokens != after.tokens:
            what = f"line {line}: `tokens` differs from {layout.BASE_LOSSES}"
            yield Disagreement(layout.TRAINED_LOSSES, what)


def _same_items(run: _Run, losses: str, predictions: str) -> Iterator[Disagreement]:
    if [one.id for one in run.losses(losses)] != [one.id for one in run.predictions(predictions)]:
        yield Disagreement(losses, f"has other ids than {predictions}")


def _headline(run: _Run, summary: dict[str, Any]) -> Iterator[Disagreement]:
    due, says = headline(summary), run.manifest.headline
    if says is None:
        return  # the rules have said so
    for field in type(due).model_fields:
        if getattr(due, field) != getattr(says, field):
            what = f"`headline.{field}` is {getattr(says, field)!r}, {layout.EVAL_SUMMARY} gives "
            yield Disagreement(layout.MANIFEST, what + repr(getattr(due, field)))


def _data_card(run: _Run) -> Iterator[Disagreement]:
    card, says = run.json(layout.DATA_CARD), run.manifest.model_dump(mode="json")
    for card_key, key in _CARD_NAMES:
        section, _, leaf = key.partition(".")
        if says[section] is None or leaf not in says[section]:
            continue  # nothing was evaluated, and the rules speak of data
        found, recorded = _lookup(card, card_key, layout.DATA_CARD), says[section][leaf]
        if found != recorded:
            what = f"`{card_key}` is {found!r}, but `{key}` of the manifest is {recorded!r}"
            yield Disagreement(layout.DATA_CARD, what)


def _code(run: _Run) -> Iterator[Disagreement]:
    code = run.manifest.code
    for file, key, digest in (
        (layout.SOURCE_PATCH, "git_diff_sha256", code.git_diff_sha256),
        (layout.LOCK, "lock_sha256", code.lock_sha256),
    ):
        if not run.has(file):
            # a run may fail because the patch is too large to keep
            if digest is not None and run.status == "completed":
                yield Disagreement(file, f"is missing: the manifest has its hash in `code.{key}`")
        elif digest != layout.file_digest(run.root / file):
            yield Disagreement(file, f"is not the file of `code.{key}` in the manifest")


def _replay(run: _Run) -> Iterator[Disagreement]:
    record = run.manifest.replay_of
    if not run.has(layout.REPLAY):
        if record is not None and run.status == "completed":
            yield Disagreement(layout.REPLAY, "is missing in a run that repeats another")
    elif run.json(layout.REPLAY)["replay_of"] != (None if record is None else record.model_dump(mode="json")):
        yield Disagreement(layout.REPLAY, "`replay_of` is not that of the manifest")


def _log(run: _Run) -> Iterator[Disagreement]:
    if run.status == "completed":
        return
    lines = read_text(run.root / layout.LOG, file=layout.LOG).splitlines()
    for number, line in enumerate(lines, start=1):
        words = {word.strip(".,;:!?()[]*`'\"").lower() for word in line.split()}
        for word in sorted(words & set(SUCCESS_WORDS)):
            yield Disagreement(layout.LOG, f"line {number}: says `{word}`, but the run is `{run.status}`")


def _lookup(value: Any, key: str, file: str) -> Any:
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise BrokenFile(file, f"has no `{key}`")
        value = value[part]
    return value


_BASE = (layout.BASE_PREDICTIONS, layout.BASE_LOSSES)
_TRAINED = (layout.TRAINED_PREDICTIONS, layout.TRAINED_LOSSES)

# The file that a check speaks of, the files without which it has nothing to compare, and the check.
_CHECKS: tuple[tuple[str, tuple[str, ...], Check], ...] = (
    (layout.MANIFEST, (), _rules),
    (layout.MANIFEST, (), _presence),
    (layout.MANIFEST, (), _hashes),
    (layout.MANIFEST, (), _texts),
    (layout.CONFIG, (layout.CONFIG,), _config),
    (layout.CONFIG, (layout.CONFIG,), _named_twice),
    (layout.METRICS, (layout.CONFIG, layout.METRICS), _steps),
    (layout.TENSORBOARD, (layout.TENSORBOARD,), _curves),
    (layout.BASE_PREDICTIONS, (layout.BASE_PREDICTIONS,), _base_predictions),
    (layout.TRAINED_PREDICTIONS, (layout.BASE_PREDICTIONS, layout.TRAINED_PREDICTIONS), _trained_predictions),
    (layout.BASE_LOSSES, (layout.BASE_PREDICTIONS, layout.BASE_LOSSES), _base_losses),
    (layout.TRAINED_LOSSES, (layout.BASE_LOSSES, *_TRAINED), _trained_losses),
    (layout.EVAL_SUMMARY, (layout.CONFIG, layout.EVAL_SUMMARY, *_BASE), _summary),
    (layout.DATA_CARD, (layout.DATA_CARD,), _data_card),
    (layout.MANIFEST, (), _code),
    (layout.REPLAY, (), _replay),
    (layout.LOG, (layout.LOG,), _log),
)
_FOR_EVERY_STATUS = (_rules, _presence, _hashes, _texts, _config, _code, _replay, _log)
