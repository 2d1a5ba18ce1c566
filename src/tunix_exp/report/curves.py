"""`curves.png`: how the training went, in four pictures and one for each of the objective's own metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds import metrics
from tunix_exp.evidence.strict_json import read_json_object, read_jsonl
from tunix_exp.report.series import (
    Figures,
    falls_far,
    heldout_losses,
    is_noisy,
    median_reach,
    objective_figures,
    running_median,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _FAINT, _GRID = "#1f2933", "#7b8794", "#e4e7eb"
_TRAINING, _HELDOUT = "#1f6fb2", "#c2410c"
_HEIGHT = 8.0  # inches, of two rows of axes
_FEW_STEPS = 60  # up to here every logged step is a dot of its own


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

    rows = read_jsonl(run / metrics.KIND.path, file=metrics.KIND.path)
    if not rows:
        raise UserError(
            "there is no logged step to draw", where=metrics.KIND.path, remedy="train for at least one step"
        )
    own = objective_figures(read_json_object(run / layout.CONFIG, file=layout.CONFIG), rows)
    loss_words = ", ".join(word for word in own.pop("loss") if word)
    # The defaults, whatever matplotlibrc a user has: the same picture everywhere. Not the backend's:
    # setting that loads pyplot.
    defaults = {key: value for key, value in dict.items(matplotlib.rcParamsDefault) if key != "backend"}
    with matplotlib.rc_context(defaults):
        rows_of_axes = 2 + (len(own) + 1) // 2
        figure = Figure(figsize=(12, _HEIGHT / 2 * rows_of_axes), dpi=100, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        axes = list(figure.subplots(rows_of_axes, 2).flat)
        figure.subplots_adjust(left=0.07, right=0.97, hspace=0.34, wspace=0.17)
        figure.subplots_adjust(top=_below_top(figure, 0.155), bottom=0.075 * 2 / rows_of_axes)
        _title(figure, run, rows)
        _draw_all(axes, rows, loss_words, heldout_losses(run, rows), own)
        # a version in the metadata would change the bytes with the library, not with the run
        canvas.print_png(target, metadata={"Software": None})


def _draw_all(
    axes: list[Axes], rows: list[dict[str, Any]], loss_words: str, heldout: dict[int, float], own: Figures
) -> None:
    steps = [row["step"] for row in rows]
    titles = {
        "lr": "Learning rate",
        "grad_norm": "Gradient norm, before clipping",
        "tokens_per_s": "Throughput, tokens per second",
    } | {key: f"{title}, {unit}" if unit else title for key, (title, unit) in own.items()}
    _draw_loss(axes[0], loss_words, steps, [row["loss"] for row in rows], heldout)
    for axis, (key, title) in zip(axes[1:], titles.items(), strict=False):
        _draw(axis, title, steps, [row[key] for row in rows])
        _start_at_zero(axis)
    for axis in axes[1 + len(titles) :]:
        axis.remove()
    for axis in axes[: 1 + len(titles)]:
        axis.set_xlim(0, 1.02 * steps[-1])
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.set_xlabel("optimizer step", color=_FAINT, fontsize=10)
    axes[3].yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes[1].yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _below_top(figure: Any, part: float) -> float:
    """The height at `part` of two rows of axes below the top, however many rows there are."""
    return 1 - part * _HEIGHT / figure.get_figheight()


def _title(figure: Any, run: Path, rows: list[dict[str, Any]]) -> None:
    manifest = read_json_object(run / layout.MANIFEST, file=layout.MANIFEST)
    parts = [manifest[section]["name"] for section in ("model", "data") if manifest[section] is not None]
    seen = rows[-1]["step"]
    parts += [f"seed {manifest['seed']}", f"{seen:,} step" + "s" * (seen != 1)]
    # dollars in a name are no formula
    style: dict[str, Any] = {"parse_math": False}
    top, below = _below_top(figure, 0.055), _below_top(figure, 0.088)
    figure.text(0.07, top, manifest["name"], fontsize=17, fontweight="bold", color=_INK, **style)
    figure.text(0.07, below, "  ·  ".join(parts), fontsize=11, color=_FAINT, **style)
    figure.text(0.97, top, manifest["run_id"], fontsize=10, color=_FAINT, ha="right", **style)


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
        axis.tick_params(axis="y", which="both", length=0)
    if heldout:
        axis.plot(
            list(heldout),
            list(heldout.values()),
            color=_HELDOUT,
            linewidth=1.0,
            linestyle=(0, (2, 2)),
            marker="o",
            markersize=5.5,
            markeredgecolor="white",
            markeredgewidth=0.8,
            label="held-out items",
            zorder=4,
            clip_on=False,
        )
    if not is_logarithmic:
        _start_at_zero(axis)
    axis.legend(loc="upper right", frameon=False, fontsize=10, labelcolor=_INK, handlelength=1.8)


def _draw(axis: Axes, title: str, steps: list[int], values: list[float], *, label: str | None = None) -> None:
    from matplotlib.ticker import MaxNLocator

    has_median = is_noisy(values)
    axis.plot(
        steps,
        values,
        color=_TRAINING,
        linewidth=0.8 if has_median else 1.8,
        alpha=0.35 if has_median else 1.0,
        marker="o" if len(steps) <= _FEW_STEPS else None,
        markersize=3.5,
        label=None if has_median else label,
        zorder=3,
    )
    if has_median:
        middle = f"median of {2 * median_reach(values) + 1} logged steps"
        smooth = running_median(values)
        axis.plot(
            steps,
            smooth,
            color=_TRAINING,
            linewidth=1.8,
            label=middle if label is None else f"{label}, {middle}",
            zorder=3,
        )
        if label is None:
            axis.legend(loc="best", frameon=False, fontsize=10, labelcolor=_INK, handlelength=1.8)
    axis.set_title(title, loc="left", fontsize=12, color=_INK, pad=10)
    axis.grid(axis="y", color=_GRID, linewidth=0.8, zorder=0)
    axis.set_axisbelow(True)
    axis.tick_params(colors=_FAINT, labelsize=10, length=0)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(_FAINT)


def _start_at_zero(axis: Axes) -> None:
    """The axis begins at zero: a height is then a size, and noise is not drawn as drama."""
    bottom, top = axis.get_ylim()
    lowest = min(min(line.get_ydata()) for line in axis.lines)  # pyright: ignore[reportArgumentType]
    if lowest < 0:
        axis.set_ylim(bottom, max(top, 0.0))
    else:
        axis.set_ylim(0.0, top if top > 0 else 1.0)
