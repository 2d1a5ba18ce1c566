"""By which program whole rows attend: the plain einsum, cuDNN's flash attention, or TPU's splash attention.

Each gives the same numbers to rounding. Which of them holds is a matter of what the model needs and what the
device has; nothing here imports JAX.
"""

from dataclasses import dataclass
from typing import Literal

from tunix_exp.errors import UserError
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.families.registry import family_of

Kernel = Literal["einsum", "cudnn", "splash"]
AskedKernel = Literal["auto", "einsum", "cudnn", "splash"]

# From here on the attention logits, which grow with the square of the length, are most of what a TPU's layer
# moves to and from its memory; splash attention moves none.
SPLASH_PAYS_FROM = 1024


@dataclass(frozen=True, slots=True)
class Choice:
    """A kernel, and in words why it is this one."""

    kernel: Kernel
    reason: str


def choose(
    asked: AskedKernel,
    model: ModelConfig,
    *,
    platform: str,
    device_kind: str,
    compute_dtype: str,
    max_tokens: int,
) -> Choice:
    """The kernel that is asked for, or for `auto` the fastest that is available.

    Raises UserError where the one that is asked for is unavailable; nothing is taken in its place.
    """
    held = {
        "cudnn": _against_cudnn(model, platform, compute_dtype),
        "splash": _against_splash(platform, device_kind),
    }
    if asked == "einsum":
        return Choice("einsum", "set by device.attention")
    if asked != "auto":
        if held[asked] is not None:
            raise UserError(
                f"device.attention={asked} is unavailable here: {held[asked]}",
                where="device.attention",
                remedy="device.attention=auto takes the fastest that is available; einsum always is",
            )
        return Choice(asked, "set by device.attention")
    if platform == "gpu":
        return Choice("einsum", held["cudnn"]) if held["cudnn"] else Choice("cudnn", "available on this GPU")
    if platform == "tpu" and not held["splash"]:
        if max_tokens < SPLASH_PAYS_FROM:
            return Choice("einsum", f"splash attention pays from {SPLASH_PAYS_FROM} tokens a row")
        return Choice("splash", f"rows have {SPLASH_PAYS_FROM} tokens or more")
    return Choice("einsum", held["splash"] if platform == "tpu" else "cuDNN needs a GPU, splash a TPU")  # pyright: ignore[reportArgumentType]


def _against_cudnn(model: ModelConfig, platform: str, compute_dtype: str) -> str | None:
    """What cuDNN's flash attention lacks; widths of heads over 128 need a GPU of the Hopper kind or later."""
    if platform != "gpu":
        return f"cuDNN needs a GPU, and this is a {platform.upper()}"
    if compute_dtype != "bfloat16":
        return f"cuDNN attention computes in bfloat16, not in {compute_dtype}"
    if family_of(model).dimensions(model).attention_soft_cap is not None:
        return "cuDNN attention has no soft cap of logits"
    return None


def _against_splash(platform: str, device_kind: str) -> str | None:
    if platform != "tpu":
        return f"splash needs a TPU, and this is a {platform.upper()}"
    if device_kind in ("TPU v2", "TPU v3"):
        return f"splash does not compile for a {device_kind}"
    return None
