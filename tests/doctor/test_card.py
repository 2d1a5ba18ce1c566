"""Cards and their driver, by what `nvidia-smi` lists."""

import pytest

from tunix_exp.doctor import card

# As `nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader` has it.
SMI = "NVIDIA H200, 580.65.06, 9.0, 143771 MiB\nNVIDIA H200, 580.65.06, 9.0, 143771 MiB\n"
T4 = "Tesla T4, 550.54.15, 7.5, 15360 MiB\n"
V100 = "Tesla V100-SXM2-16GB, 580.65.06, 7.0, 16384 MiB\n"
SMALL = "NVIDIA H200 MIG 1g.1gb, 580.65.06, 9.0, 512 MiB\n"
UNTOLD = "NVIDIA GB10, 580.95.05, 12.1, [N/A]\n"
CUDA13, CUDA12 = {"jax-cuda13-plugin": "0.10.2"}, {"jax-cuda12-plugin": "0.10.2"}
OLD_CUDNN = CUDA13 | {"nvidia-cudnn-cu13": "9.7.1.26"}
NEW_CUDNN = CUDA13 | {"nvidia-cudnn-cu13": "9.28.0.42"}
REQUIRED = ("nvidia-cudnn-cu13<10.0,>=9.8; extra == 'with-cuda'", "nvidia-cudnn-cu130>=99", "other>=50")


@pytest.mark.parametrize(
    ("smi", "installed", "level", "says"),
    [
        (None, {}, "ok", "no NVIDIA driver and no plugin"),
        (None, CUDA13, "warn", "no NVIDIA driver answers"),
        (SMI, {}, "warn", "driver 580.65.06, 2 × NVIDIA H200, but JAX's plugin is not installed"),
        (
            SMI,
            CUDA13,
            "ok",
            "2 × NVIDIA H200 of 140.4 GiB, jax-cuda13-plugin 0.10.2; JAX takes three quarters",
        ),
        (SMI, NEW_CUDNN, "ok", "jax-cuda13-plugin 0.10.2"),
        (T4, CUDA13, "fail", "jax-cuda13-plugin needs a driver from 580 on, and this is 550.54.15"),
        (T4, CUDA12, "ok", "driver 550.54.15, 1 × Tesla T4 of 15.0 GiB"),
        (V100, CUDA13, "fail", "needs compute capability 7.5 or later, and Tesla V100-SXM2-16GB has 7.0"),
        (V100, CUDA12, "ok", "Tesla V100-SXM2-16GB"),
        (SMI + V100, CUDA13, "fail", "Tesla V100-SXM2-16GB has 7.0"),
        (SMALL, CUDA13, "fail", "NVIDIA H200 MIG 1g.1gb has 0.50 GiB, and the default run needs 1 GiB"),
        (UNTOLD, CUDA13, "ok", "1 × NVIDIA GB10 of a memory that nvidia-smi does not tell"),
        (SMI, OLD_CUDNN, "fail", "needs cuDNN 9.8 or later, and this is 9.7.1.26"),
    ],
)
def test_driver_cards_and_plugin_must_fit(smi, installed, level, says):
    found = card.cuda(smi, installed, REQUIRED)
    assert (found.level, says in found.says) == (level, True), found
    assert found.level != "fail" or "or run with device=cpu" in (found.remedy or "")


def test_without_nvidia_smi_no_driver_is_claimed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert card.driver_says() is None


def test_an_nvidia_smi_that_knows_no_compute_capability_tells_of_its_driver(monkeypatch, tmp_path):
    told = (
        '#!/bin/sh\ncase "$1" in *compute_cap*) echo "not a valid field"; exit 2;; esac\necho "T4, 470.1"\n'
    )
    (tmp_path / "nvidia-smi").write_text(told)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = card.cuda(card.driver_says(), CUDA13)
    assert "needs a driver from 580 on, and this is 470.1" in found.says


def test_without_a_plugin_nothing_is_required():
    assert card.requirements({}) == ()
