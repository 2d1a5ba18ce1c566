"""The attention kernel of the training step, chosen and compared with the einsum on the device."""

from tunix_exp.config import RunConfig
from tunix_exp.device.check import Device
from tunix_exp.errors import UserError
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.models.architecture import abstract
from tunix_exp.models.kernels import Choice, Kernel, choose
from tunix_exp.models.layers.attention import difference

_TOLERANCE = 0.02  # a few roundings of bfloat16, of 2⁻⁸ each


def chosen_kernel(config: RunConfig, device: Device, *, max_tokens: int, evidence: RunDirectory) -> Choice:
    """The kernel for rows of at most `max_tokens`, and why, which the log says."""
    choice = choose(
        config.device.attention,
        config.model,
        platform=device.platform,
        device_kind=device.device_kind,
        compute_dtype=config.device.compute_dtype,
        max_tokens=max_tokens,
    )
    evidence.log.say(f"attention kernel: {choice.kernel} ({choice.reason})")
    return choice


def check_kernel(kernel: Kernel, config: RunConfig, evidence: RunDirectory) -> None:
    """`kernel`, by which training attends, computes here what the einsum does; evaluation takes that."""
    if kernel == "einsum":
        return
    device = config.device
    model = abstract(config.model, param_dtype=device.param_dtype, compute_dtype=device.compute_dtype)
    error = difference(
        kernel,
        head_width=model.head_width,
        soft_cap=model.attention_soft_cap,
        windows=tuple(sorted(set(model.windows))),
        dtype=model.compute_dtype,
    )
    if not error < _TOLERANCE:
        raise UserError(
            f"{kernel} attention differs from einsum by {error:.2g} of the largest value on this device",
            where="device.attention",
            remedy="device.attention=einsum; the driver or the library of the device may be faulty",
        )
    evidence.log.say(f"attention check: {kernel} differs from einsum by {error:.1e} of the largest value")
