"""`curves.png`: how the training went, in four pictures over the same steps."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.strict_json import read_json_object, read_jsonl

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _FAINT, _GRID = "#1f2933", "#7b8794", "#e4e7eb"
_TRAINING, _HELDOUT = "#1f6fb2", "#c2410c"
_FEW_STEPS = 60  # up to here every logged step is a dot of its own
_LOG_RATIO = 20.0  # a loss that falls further than this shows its end only on a logarithmic axis


def draw_curves(run: Path, target: Path) -> None:
    """`target` is a 1200 × 800 PNG of loss, learning rate, gradient norm and throughput of `run`.

    Held-out losses lie on the loss axes: those of `heldout.jsonl`, the base model's at step 0 and the
    trained model's at the last step. The same files give the same bytes.
    """
    # Late, so that nothing loads matplotlib before a picture is asked for; never pyplot, which keeps
    # global state and looks for a display.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_jsonl(run / layout.METRICS, file=layout.METRICS)
    if not rows:
        raise UserError(
            "there is no logged step to draw", where=layout.METRICS, remedy="train for at least one step"
        )
    steps = [row["step"] for row in rows]
    # The defaults, whatever matplotlibrc a user has: the same picture everywhere. Not the backend's:
    # setting that loads pyplot.
    defaults = {key: value for key, value in dict.items(matplotlib.rcParamsDefault) if key != "backend"}
    with matplotlib.rc_context(defaults):
        figure = Figure(figsize=(12, 8), dpi=100, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots(2, 2)
        figure.subplots_adjust(left=0.07, right=0.97, top=0.845, bottom=0.075, hspace=0.34, wspace=0.17)
        _title(figure, run, rows)
        _draw_loss(axes[0, 0], steps, [row["loss"] for row in rows], _heldout(run, rows))
        _draw(axes[0, 1], "Learning rate", steps, [row["lr"] for row in rows])
        _draw(axes[1, 0], "Gradient norm, before clipping", steps, [row["grad_norm"] for row in rows])
        _draw(axes[1, 1], "Throughput, tokens per second", steps, [row["tokens_per_s"] for row in rows])
        for axis in axes.flat:
            axis.set_xlim(0, 1.02 * steps[-1])
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            axis.set_xlabel("optimizer step", color=_FAINT, fontsize=10)
        for axis in axes.flat[1:]:
            _start_at_zero(axis)
        axes[1, 1].yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes[0, 1].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        # a version in the metadata would change the bytes with the library, not with the run
        canvas.print_png(target, metadata={"Software": None, "Source": layout.drawn_from(run)})


def _title(figure: Any, run: Path, rows: list[dict[str, Any]]) -> None:
    manifest = read_json_object(run / layout.MANIFEST, file=layout.MANIFEST)
    parts = [manifest[section]["name"] for section in ("model", "data") if manifest[section] is not None]
    seen = rows[-1]["step"]
    parts += [f"seed {manifest['seed']}", f"{seen:,} step" + "s" * (seen != 1)]
    figure.text(0.07, 0.945, manifest["name"], fontsize=17, fontweight="bold", color=_INK)
    figure.text(0.07, 0.912, "  ·  ".join(parts), fontsize=11, color=_FAINT)
    figure.text(0.97, 0.945, manifest["run_id"], fontsize=10, color=_FAINT, ha="right")


def _heldout(run: Path, rows: list[dict[str, Any]]) -> dict[int, float]:
    """The held-out losses by step, from the files that the run has."""
    losses = {row["step"]: row["heldout_loss"] for row in rows if "heldout_loss" in row}
    if (run / layout.HELDOUT).exists():
        losses |= {
            row["step"]: row["loss_nats"] for row in read_jsonl(run / layout.HELDOUT, file=layout.HELDOUT)
        }
    if (run / layout.EVAL_SUMMARY).exists():
        summary = read_json_object(run / layout.EVAL_SUMMARY, file=layout.EVAL_SUMMARY)
        losses[0] = summary["base"]["heldout_loss_nats"]
        if summary["trained"] is not None:
            losses[rows[-1]["step"]] = summary["trained"]["heldout_loss_nats"]
    return dict(sorted(losses.items()))


def _draw_loss(axis: Axes, steps: list[int], losses: list[float], heldout: dict[int, float]) -> None:
    every = [*losses, *heldout.values()]
    is_logarithmic = min(every) > 0 and max(every) / min(every) > _LOG_RATIO
    title = "Loss, nats per response token" + (" (logarithmic)" if is_logarithmic else "")
    _draw(axis, title, steps, losses, label="training batch")
    if is_logarithmic:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_minor_formatter(lambda value, _: "")
        axis.tick_params(axis="y", which="both", length=0)
    else:
        _start_at_zero(axis)
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
    axis.legend(loc="upper right", frameon=False, fontsize=10, labelcolor=_INK, handlelength=1.8)


def _draw(axis: Axes, title: str, steps: list[int], values: list[float], *, label: str | None = None) -> None:
    from matplotlib.ticker import MaxNLocator

    window = max(1, len(values) // 50)
    is_noisy = window > 2 and _roughness(values) > 0.02
    axis.plot(
        steps,
        values,
        color=_TRAINING,
        linewidth=0.8 if is_noisy else 1.8,
        alpha=0.35 if is_noisy else 1.0,
        marker="o" if len(steps) <= _FEW_STEPS else None,
        markersize=3.5,
        label=None if is_noisy else label,
        zorder=3,
    )
    if is_noisy:
        middle = f"median of {2 * window + 1} logged steps"
        smooth = _running_median(values, window)
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
    top = axis.get_ylim()[1]
    axis.set_ylim(0.0, top if top > 0 else 1.0)


def _roughness(values: list[float]) -> float:
    """The median jump between neighbours, as a part of the range: 0 for a smooth curve."""
    span = max(values) - min(values)
    jumps = [abs(two - one) for one, two in itertools.pairwise(values)]
    return 0.0 if span == 0 else statistics.median(jumps) / span


def _running_median(values: list[float], reach: int) -> list[float]:
    """The median of each value and its `reach` neighbours to either side, fewer at the ends."""
    return [
        statistics.median(values[max(0, place - reach) : place + reach + 1]) for place in range(len(values))
    ]
