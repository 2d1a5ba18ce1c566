"""NVIDIA's cards: driver, compute capability, memory and cuDNN, against what JAX's CUDA plugin needs."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from tunix_exp.doctor.finding import Finding

_MIB, _GIB = 2**20, 2**30


@dataclass(frozen=True)
class Needs:
    """What a CUDA toolkit asks for: a driver of a series or later, cards of a compute capability or later."""

    driver: int
    capability: tuple[int, int]
    cudnn: str  # the distribution


# CUDA's release notes; CUDA 13 has left out what is older than Turing.
_NEEDS = {
    "jax-cuda13-plugin": Needs(580, (7, 5), "nvidia-cudnn-cu13"),
    "jax-cuda12-plugin": Needs(525, (5, 2), "nvidia-cudnn-cu12"),
}
# The default run's step takes 70 MB; CUDA's own context on a card some hundred.
LEAST_MEMORY = 1 * _GIB


@dataclass(frozen=True)
class Card:
    """One card, as `nvidia-smi` lists it; `None` is what it does not tell."""

    name: str
    driver: str
    capability: tuple[int, int] | None
    memory_bytes: int | None

    @classmethod
    def of(cls, line: str) -> "Card":
        """That of a line, as `NVIDIA H200, 580.65.06, 9.0, 143771 MiB`."""
        name, driver, capability, memory = line.strip().rsplit(", ", 3)
        told = re.fullmatch(r"(\d+)\.(\d+)", capability), re.fullmatch(r"(\d+) MiB", memory)
        return cls(
            name,
            driver,
            (int(told[0][1]), int(told[0][2])) if told[0] else None,
            int(told[1][1]) * _MIB if told[1] else None,
        )


def cuda(smi: str | None, installed: Mapping[str, str], required: Sequence[str] = ()) -> Finding:
    """The driver and the cards against the plugin; `smi` is what `nvidia-smi` lists, if it answers.

    `required` are the plugin's own requirements of other distributions.
    """
    plugin = next((name for name in _NEEDS if name in installed), None)
    if smi is None:
        if plugin is None:
            return Finding("cuda", "ok", "no NVIDIA driver and no plugin: nothing here is for a GPU")
        return Finding(
            "cuda",
            "warn",
            f"{plugin} {installed[plugin]}, but no NVIDIA driver answers",
            "install the driver",
        )
    cards = [Card.of(line) for line in smi.strip().splitlines()]
    says = f"driver {cards[0].driver}, {len(cards)} × {cards[0].name}"
    if plugin is None:
        return Finding("cuda", "warn", f"{says}, but JAX's plugin is not installed", "uv sync --extra cuda")
    lack = _lack(cards, plugin, installed, required)
    if lack is not None:
        what, remedy = lack
        return Finding("cuda", "fail", f"{says}, but {what}", f"{remedy}, or run with device=cpu")
    told = [card.memory_bytes / _GIB for card in cards if card.memory_bytes is not None]
    size = f"{min(told):.1f} GiB" if len(told) == len(cards) else "a memory that nvidia-smi does not tell"
    return Finding(
        "cuda",
        "ok",
        f"{says} of {size}, {plugin} {installed[plugin]}; JAX takes three quarters of it,"
        " or device.memory_fraction",
    )


def _lack(
    cards: Sequence[Card], plugin: str, installed: Mapping[str, str], required: Sequence[str]
) -> tuple[str, str] | None:
    """The first thing that is too old or too small, with what is needed, and what to do."""
    needs = _NEEDS[plugin]
    driver = cards[0].driver
    if int(driver.split(".")[0]) < needs.driver:
        return f"{plugin} needs a driver from {needs.driver} on, and this is {driver}", "update the driver"
    for card in cards:
        if card.capability is not None and card.capability < needs.capability:
            here, least = (".".join(map(str, one)) for one in (card.capability, needs.capability))
            return (
                f"{plugin} needs compute capability {least} or later, and {card.name} has {here}",
                "hide it from JAX (CUDA_VISIBLE_DEVICES)",
            )
        if card.memory_bytes is not None and card.memory_bytes < LEAST_MEMORY:
            return (
                f"{card.name} has {card.memory_bytes / _GIB:.2f} GiB, and the default run needs"
                f" {LEAST_MEMORY / _GIB:.0f} GiB",
                "hide it from JAX (CUDA_VISIBLE_DEVICES)",
            )
    here = installed.get(needs.cudnn)  # none where cuDNN is the system's
    wanted = _least(required, needs.cudnn)
    if here is not None and wanted is not None and _numbers(here) < _numbers(wanted):
        return f"{plugin} needs cuDNN {wanted} or later, and this is {here}", "uv sync --extra cuda"
    return None


def _least(required: Sequence[str], name: str) -> str | None:
    """The earliest version of a distribution that the requirements allow."""
    of_it = [line for line in required if re.match(rf"{name}(?![\w-])", line)]
    found = [version for line in of_it for version in re.findall(r">=\s*([\d.]+)", line)]
    return max(found, key=_numbers, default=None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def requirements(installed: Mapping[str, str]) -> Sequence[str]:
    """What the plugin that is installed requires, in its own words."""
    plugin = next((name for name in _NEEDS if name in installed), None)
    return () if plugin is None else metadata.requires(plugin) or ()


def driver_says() -> str | None:
    """Name, driver, compute capability and memory of each GPU; `None` where `nvidia-smi` does not answer.

    One of before 2022 knows no compute capability: then the driver alone, which is too old, is told.
    """
    whole = _listed("name,driver_version,compute_cap,memory.total")
    if whole is not None:
        return whole
    short = _listed("name,driver_version")
    return None if short is None else "".join(f"{line}, [N/A], [N/A]\n" for line in short.splitlines())


def _listed(fields: str) -> str | None:
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 and done.stdout.strip() else None
