"""`tensorboard/`: a copy of the curves, the config and the result for TensorBoard, and for nobody else."""

from tunix_exp.evidence.board import (
    FINAL,
    BoardContent,
    as_float32,
    final_figures,
    hyperparameters,
    read_board,
)
from tunix_exp.evidence.kinds.kind import Found, Kind, when_computed
from tunix_exp.evidence.opened import OpenedRun


def _curves(run: OpenedRun) -> Found:
    """The curves are the figures of the kinds that have them, and the last figures the headline's."""
    due: dict[str, list[tuple[int, float]]] = {}
    source: dict[str, str] = {}
    for kind in run.kinds:
        for row in run.lines(kind) if kind.curves is not None and run.has(kind.path) else []:
            for key, value in row.items():
                if key != "step":
                    due.setdefault(f"{kind.curves}{key}", []).append((row["step"], as_float32(value)))
                    source[f"{kind.curves}{key}"] = kind.path
    shown, result = _content(run).scalars, run.manifest.headline
    final = {} if result is None else {tag: [as_float32(n)] for tag, n in final_figures(result).items()}
    for tag in sorted(due.keys() | shown.keys() | final.keys()):
        points = shown.get(tag, [])
        if tag in due:
            if points != due[tag]:
                yield f"the curve `{tag}` differs from {source[tag]}"
        elif not tag.startswith(FINAL):
            yield f"the curve `{tag}` is of no file of the run"
        elif tag not in final or [value for _, value in points] != final[tag]:
            yield f"`{tag}` is not the headline of the manifest"


def _hyperparameters(run: OpenedRun) -> Found:
    """The hyperparameters are the config's leaves."""
    due, shown = hyperparameters(run.config), _content(run).hyperparameters
    for key in sorted(due.keys() | shown.keys()):
        if key not in due or key not in shown or due[key] != shown[key]:
            yield f"the hyperparameter `{key}` is not config.json's"


def _content(run: OpenedRun) -> BoardContent:
    return run.once("content", KIND.path, lambda: read_board(run.root / KIND.path))


KIND = Kind(
    path="tensorboard/",
    name="TensorBoard",
    holds="the metrics and the config for TensorBoard",
    when=when_computed,
    is_open=True,
    integrity=(_curves, _hyperparameters),
)
