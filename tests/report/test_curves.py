import json
import math
import struct
import subprocess
import sys

import matplotlib
import pytest
from matplotlib.figure import Figure

from tests.report.run_files import write_run, write_summary
from tunix_exp.errors import UserError
from tunix_exp.report.curves import draw_curves

FALLING = [3.0 * math.exp(-n / 5) for n in range(40)]


@pytest.fixture
def drawn(monkeypatch):
    """Every figure that is drawn, so that a test can look at what lies on its axes."""
    figures = []
    real = Figure.__init__

    def remember(self, *args, **kwargs):
        real(self, *args, **kwargs)
        figures.append(self)

    monkeypatch.setattr(Figure, "__init__", remember)
    return figures


def test_the_picture_is_1200_by_800(tmp_path):
    draw_curves(write_run(tmp_path, losses=FALLING), tmp_path / "curves.png")
    assert struct.unpack(">II", (tmp_path / "curves.png").read_bytes()[16:24]) == (1200, 800)


def test_the_same_run_gives_the_same_bytes_whatever_the_users_settings(tmp_path):
    run = write_run(tmp_path, losses=FALLING)
    draw_curves(run, tmp_path / "one.png")
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20, "axes.facecolor": "black"}):
        draw_curves(run, tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert b"Software" not in (tmp_path / "one.png").read_bytes().split(b"IDAT")[0]


def test_each_panel_shows_its_own_key_over_the_steps(tmp_path, drawn):
    run = write_run(tmp_path, losses=FALLING)
    draw_curves(run, tmp_path / "curves.png")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for axis, key in zip(drawn[0].axes, ["loss", "lr", "grad_norm", "tokens_per_s"], strict=True):
        assert list(axis.lines[0].get_xdata()) == [row["step"] for row in rows]
        assert list(axis.lines[0].get_ydata()) == [row[key] for row in rows]


def test_titles_say_units_and_the_heading_names_the_run(tmp_path, drawn):
    draw_curves(write_run(tmp_path, losses=[2.0, 1.5]), tmp_path / "curves.png")
    assert [axis.get_title(loc="left") for axis in drawn[0].axes] == [
        "Loss, nats per response token",
        "Learning rate",
        "Gradient norm, before clipping",
        "Throughput, tokens per second",
    ]
    texts = [text.get_text() for text in drawn[0].texts]
    assert texts == [
        "nano",
        "nano-gpt2  ·  nano-reasoning  ·  seed 7  ·  2 steps",
        "nano/2026-07-01_12-00-00-123456",
    ]


def test_a_loss_that_falls_far_is_drawn_on_a_logarithmic_axis(tmp_path, drawn):
    draw_curves(write_run(tmp_path, losses=FALLING), tmp_path / "curves.png")
    assert drawn[0].axes[0].get_yscale() == "log"
    assert drawn[0].axes[0].get_title(loc="left").endswith("(logarithmic)")
    draw_curves(write_run(tmp_path, losses=[3.0, 2.0]), tmp_path / "curves.png")
    assert drawn[1].axes[0].get_ylim()[0] == 0.0


def test_a_loss_of_zero_needs_no_logarithm(tmp_path, drawn):
    draw_curves(write_run(tmp_path, losses=[3.0, 0.0]), tmp_path / "curves.png")
    assert drawn[0].axes[0].get_yscale() == "linear"


def test_held_out_losses_of_every_file_lie_on_the_loss_axes(tmp_path, drawn):
    run = write_run(tmp_path, losses=[3.0, 2.0, 1.0, 0.9])
    (run / "heldout.jsonl").write_text('{"step": 2, "loss_nats": 2.2}\n')
    write_summary(run)
    draw_curves(run, tmp_path / "curves.png")
    heldout = drawn[0].axes[0].lines[-1]
    assert heldout.get_label() == "held-out items"
    assert (list(heldout.get_xdata()), list(heldout.get_ydata())) == ([0, 2, 4], [3.25, 2.2, 0.5])


def test_many_noisy_steps_get_a_running_median(tmp_path, drawn):
    losses = [2.0 + (n % 2) for n in range(300)]
    draw_curves(write_run(tmp_path, losses=losses), tmp_path / "curves.png")
    noisy, smooth = drawn[0].axes[0].lines[:2]
    assert list(noisy.get_ydata()) == losses
    assert smooth.get_label() == "training batch, median of 13 logged steps"
    assert min(smooth.get_ydata()[6:-6]) >= 2.0


def test_one_step_and_a_manifest_that_knows_little_yet_are_drawn(tmp_path):
    from tests.report.run_files import MANIFEST

    run = write_run(tmp_path, losses=[1.0], manifest=MANIFEST | {"model": None, "data": None})
    draw_curves(run, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5_000


def test_no_logged_step_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no logged step to draw") as caught:
        draw_curves(write_run(tmp_path, losses=[]), tmp_path / "curves.png")
    assert (caught.value.where, caught.value.remedy) == ("metrics.jsonl", "train for at least one step")


def test_importing_the_package_loads_no_matplotlib_and_drawing_no_pyplot(tmp_path):
    run = write_run(tmp_path, losses=[1.0])
    code = (
        "import sys, pathlib\n"
        "from tunix_exp.report.curves import draw_curves\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"draw_curves(pathlib.Path({str(run)!r}), pathlib.Path({str(run / 'curves.png')!r}))\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'jax' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


def test_held_out_losses_above_those_of_the_batches_lie_within_the_panel(tmp_path, drawn):
    run = write_run(tmp_path, losses=[2.0, 1.5])
    (run / "heldout.jsonl").write_text('{"step": 1, "loss_nats": 2.9}\n{"step": 2, "loss_nats": 2.8}\n')
    draw_curves(run, tmp_path / "curves.png")
    bottom, top = drawn[0].axes[0].get_ylim()
    assert bottom == 0
    assert top > 2.9
