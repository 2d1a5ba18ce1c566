"""`predictions/*.jsonl`: every answer to the held-out items, as it was scored."""

from tunix_exp.evidence.kinds.kind import Compared, Disagreement, Found, Kind, only, when_evaluated
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.opened import OpenedRun, bundled
from tunix_exp.evidence.sections import ItemsEval
from tunix_exp.evidence.strict_json import parse_json
from tunix_exp.scoring.paired import GROUPS
from tunix_exp.scoring.scorecard import Prediction


def _items(run: OpenedRun, kind: Kind) -> Found:
    """Every id is there once, and there are as many answers as the manifest says."""
    seen: set[str] = set()
    for line, one in enumerate(run.rows(kind), start=1):
        if one.id in seen:
            yield f"line {line}: the id `{one.id}` is there twice"
        seen.add(one.id)
        if (one.classification is None) != (run.rows(kind)[0].classification is None):
            yield f"line {line}: other lines have a `classification`, or have none, unlike this one"
    items, found = run.manifest.eval, len(run.rows(kind))
    if isinstance(items, ItemsEval) and found != items.rows:
        yield f"has {found} items, the manifest {items.rows}"


def _base(run: OpenedRun) -> Found:
    """There is one answer to each item."""
    yield from _items(run, BASE)


def _bundled(run: OpenedRun) -> Found:
    """The items are those of the set that is shipped with the package, in its order."""
    answers, source = run.rows(BASE), run.setting("eval.source")
    content = bundled(source)
    if content is None or run.setting_if_any("eval.fields.answer_marker") is not None:
        return  # not shipped with the package, or answers that stand inside other text
    fields = {"expected_answer": run.setting("eval.fields.answer"), "id": run.setting("eval.fields.id")}
    is_asked = any(one.question is not None for one in answers)
    if is_asked and run.setting_if_any("eval.fields.input") is None:
        fields["question"] = run.setting("eval.fields.question")
    fields |= {name: run.setting(f"eval.fields.{name}") for name in GROUPS}
    rows = [parse_json(line, file=source) for line in content.decode().splitlines()]
    for line, (one, row) in enumerate(zip(answers, rows, strict=False), start=1):
        for name, field in fields.items():
            if field in row and getattr(one, name) != row[field]:
                yield f"line {line}: `{name}` is {getattr(one, name)!r}, but {source} has {row[field]!r}"


def _trained(run: OpenedRun) -> Found:
    """The trained model answered the base model's items."""
    yield from _items(run, TRAINED)
    yield from unlike_lines(run, BASE, TRAINED, "prompt", "expected_answer", "question", *GROUPS)


def unlike_lines(run: OpenedRun, one: Kind, other: Kind, *names: str) -> Found:
    """Where the lines of `other` are not of the same items as those of `one`, or differ in `names`."""
    ours, theirs = run.rows(one), run.rows(other)
    if [row.id for row in ours] != [row.id for row in theirs]:
        yield f"has other ids than {one.path}"
        return
    for line, (before, after) in enumerate(zip(ours, theirs, strict=True), start=1):
        for name in names:
            if getattr(before, name) != getattr(after, name):
                yield f"line {line}: `{name}` differs from {one.path}"


def _baseline(run: OpenedRun) -> Found:
    """The baseline is the config's, and it answered the same items."""
    base = [(one.id, one.expected_answer) for one in run.rows(BASE)]
    named, record = run.setting("eval.baseline"), run.manifest.baseline
    tolerance = run.setting("eval.baseline_tolerance_points")
    if (named is None) != (record is None) or (record is not None and record.tolerance_points != tolerance):
        yield Disagreement(MANIFEST, "`baseline` is not that of `eval.baseline` in config.json")
    if (record is None) == run.has(BASELINE.path):
        yield "is missing" if record else "cannot come from a run without a baseline"
    elif record is not None:
        yield from _items(run, BASELINE)
        if [(one.id, one.expected_answer) for one in run.rows(BASELINE)] != base:
            yield f"is of other items than {BASE.path}"


BASELINE = Kind(
    path="predictions/baseline.jsonl",
    name="the baseline's predictions",
    holds="every answer of the run that this one is measured against",
    when=only("may", lambda facts: facts.computes and facts.eval_kind == "items"),
    schema=Prediction,
    integrity=(_baseline,),
)
BASE, TRAINED = (
    Kind(
        path=f"predictions/{which}.jsonl",
        name=f"{which} predictions",
        holds=f"every answer of the {which} model, as it was scored",
        when=when_evaluated("items", which),
        schema=Prediction,
        integrity=checks,
        compared=(Compared("id", of_the_end=which == "trained"),),
    )
    for which, checks in (("base", (_base, _bundled)), ("trained", (_trained,)))
)
