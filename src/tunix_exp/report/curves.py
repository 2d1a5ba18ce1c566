"""`curves.png`: how the training went, in four pictures and one for each of the objective's own metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds import metrics
from tunix_exp.report.page.record import Record, read_record
from tunix_exp.report.series import (
    falls_far,
    is_loss,
    is_noisy,
    median_reach,
    objective_figures,
    running_median,
    stage_ends,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _FAINT, _GRID = "#1f2933", "#7b8794", "#e4e7eb"
_TRAINING, _HELDOUT = "#1f6fb2", "#c2410c"
_HEIGHT = 8.0  # inches, of two rows of axes
_FEW_STEPS = 60  # up to here every logged step is a dot of its own
_STYLE: dict[str, Any] = {
    "axes.titlelocation": "left", "axes.titlesize": 12, "axes.titlecolor": _INK, "axes.titlepad": 10,
    "axes.titley": 1.0,  # else all ticks are measured to find it
    "axes.labelsize": 10, "axes.labelcolor": _FAINT, "axes.edgecolor": _FAINT, "axes.spines.top": False,
    "axes.spines.right": False, "axes.spines.left": False, "axes.grid": True, "axes.grid.axis": "y",
    "axes.axisbelow": True, "grid.color": _GRID, "grid.linewidth": 0.8, "lines.linewidth": 1.8,
    "lines.markersize": 3.5, "legend.frameon": False, "legend.fontsize": 10, "legend.labelcolor": _INK,
    "legend.handlelength": 1.8, "xtick.color": _FAINT, "xtick.labelsize": 10, "xtick.major.size": 0,
    "ytick.color": _FAINT, "ytick.labelsize": 10, "ytick.major.size": 0, "ytick.minor.size": 0,
    "text.parse_math": False,  # dollars in a name are no formula
}  # fmt: skip
_HELDOUT_POINTS: dict[str, Any] = {
    "color": _HELDOUT, "linewidth": 1.0, "linestyle": (0, (2, 2)), "marker": "o", "markersize": 5.5,
    "markeredgecolor": "white", "markeredgewidth": 0.8, "label": "held-out items", "clip_on": False,
}  # fmt: skip


def draw_curves(run: Path, target: Path) -> None:
    """`target` is a 1200 × 800 PNG of loss, learning rate, gradient norm and throughput of `run`.

    The objective's own metrics follow below; the picture is 400 higher for every two of them.
    Held-out losses lie on the loss axes: those during the training, the base model's at step 0 and the
    trained model's at the last step. The same files give the same bytes.
    """
    # Late, so that nothing loads matplotlib before a picture is asked for; never pyplot, which keeps
    # global state and looks for a display.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    record = read_record(run)
    if not record.metrics:
        raise UserError(
            "there is no logged step to draw", where=metrics.KIND.path, remedy="train for at least one step"
        )
    titles = _titles(record)
    rows_of_axes = (len(titles) + 1) // 2
    # The defaults, whatever matplotlibrc a user has: the same picture everywhere. Not the backend's:
    # setting that loads pyplot.
    defaults: Any = {key: value for key, value in dict.items(matplotlib.rcParamsDefault) if key != "backend"}
    with matplotlib.rc_context(defaults | _STYLE):
        figure = Figure(figsize=(12, _HEIGHT / 2 * rows_of_axes), dpi=100, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        axes = list(figure.subplots(rows_of_axes, 2).flat)
        figure.subplots_adjust(left=0.07, right=0.97, hspace=0.34, wspace=0.17)
        figure.subplots_adjust(top=_below_top(figure, 0.155), bottom=0.075 * 2 / rows_of_axes)
        _head(figure, record)
        _draw_all(axes, record, titles)
        # a version in the metadata would change the bytes with the library, not with the run
        canvas.print_png(target, metadata={"Software": None})


def _titles(record: Record) -> dict[str, str]:
    """What is drawn, by its column."""
    own = objective_figures(record.config, record.metrics)
    titles = {key: ", ".join(word for word in words if word) for key, words in own.items()}
    fixed = {
        "lr": "Learning rate",
        "grad_norm": "Gradient norm, before clipping",
        "tokens_per_s": "Throughput, tokens per second",
    }
    return {"loss": titles.pop("loss"), **fixed, **titles}


def _draw_all(axes: list[Axes], record: Record, titles: dict[str, str]) -> None:
    last = record.metrics[-1]["step"]
    for axis, (key, title) in zip(axes, titles.items(), strict=False):
        steps = [row["step"] for row in record.metrics if key in row]
        values = [row[key] for row in record.metrics if key in row]
        if is_loss(key):
            _draw_loss(axis, title, steps, values, record.heldout if key == "loss" else {})
        else:
            _draw(axis, title, steps, values)
            _start_at_zero(axis)
        _mark_stages(axis, stage_ends(record.manifest.data), last, named=key == "loss")
        axis.set_xlim(0, 1.02 * last)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.set_xlabel("optimizer step")
    for axis in axes[len(titles) :]:
        axis.remove()
    axes[3].yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes[1].yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _mark_stages(axis: Axes, ends: list[tuple[str, int]], last: int, *, named: bool) -> None:
    """A line where each stage but the last ends, and at the bottom the names of those that were reached."""
    begin = 0
    for name, end in ends:
        if begin >= last:
            return
        if begin > 0:
            axis.axvline(begin, color=_FAINT, linewidth=0.8, linestyle=(0, (4, 3)), zorder=2)
        if named:
            place = ((begin + min(end, last)) / 2, 0.02)
            at = {"transform": axis.get_xaxis_transform(), "ha": "center", "va": "bottom"}
            axis.text(*place, name, fontsize=9, color=_FAINT, **at)
        begin = end


def _below_top(figure: Any, part: float) -> float:
    """The height at `part` of two rows of axes below the top, however many rows there are."""
    return 1 - part * _HEIGHT / figure.get_figheight()


def _head(figure: Any, record: Record) -> None:
    manifest = record.manifest
    parts = [section.name for section in (manifest.model, manifest.data) if section is not None]
    seen = record.metrics[-1]["step"]
    parts += [f"seed {manifest.seed}", f"{seen:,} step" + "s" * (seen != 1)]
    top, below = _below_top(figure, 0.055), _below_top(figure, 0.088)
    figure.text(0.07, top, manifest.name, fontsize=17, fontweight="bold", color=_INK)
    figure.text(0.07, below, "  ·  ".join(parts), fontsize=11, color=_FAINT)
    figure.text(0.97, top, manifest.run_id, fontsize=10, color=_FAINT, ha="right")


def _draw_loss(
    axis: Axes, words: str, steps: list[int], losses: list[float], heldout: dict[int, float]
) -> None:
    is_logarithmic = falls_far([*losses, *heldout.values()])
    title = words + (" (logarithmic)" if is_logarithmic else "")
    _draw(axis, title, steps, losses, label="training batch")
    if is_logarithmic:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_minor_formatter(lambda value, _: "")
    if heldout:
        axis.plot(list(heldout), list(heldout.values()), zorder=4, **_HELDOUT_POINTS)
    if not is_logarithmic:
        _start_at_zero(axis)
    axis.legend(loc="upper right")


def _draw(axis: Axes, title: str, steps: list[int], values: list[float], *, label: str | None = None) -> None:
    from matplotlib.ticker import MaxNLocator

    marker = "o" if len(steps) <= _FEW_STEPS else None
    if is_noisy(values):
        axis.plot(steps, values, color=_TRAINING, linewidth=0.8, alpha=0.35, marker=marker, zorder=3)
        middle = f"median of {2 * median_reach(values) + 1} logged steps"
        words = middle if label is None else f"{label}, {middle}"
        axis.plot(steps, running_median(values), color=_TRAINING, label=words, zorder=3)
        if label is None:
            axis.legend(loc="best")
    else:
        axis.plot(steps, values, color=_TRAINING, marker=marker, label=label, zorder=3)
    axis.set_title(title)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def _start_at_zero(axis: Axes) -> None:
    """The axis begins at zero: a height is then a size, and noise is not drawn as drama."""
    bottom, top = axis.get_ylim()
    lowest = min(min(line.get_ydata()) for line in axis.lines)  # pyright: ignore[reportArgumentType]
    if lowest < 0:
        axis.set_ylim(bottom, max(top, 0.0))
    else:
        axis.set_ylim(0.0, top if top > 0 else 1.0)
