"""The step of each narrower batch, compiled side by side."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from tunix_exp.errors import UserError
from tunix_exp.evidence.surroundings import usable_cores
from tunix_exp.training.footprint import Setting


def compiled_widths(
    settings: Sequence[Setting], compiled: Callable[[Setting], Any], *, platform: str
) -> dict[int, Any]:
    """The program of each setting by its width, as many at a time as this process has cores.

    On a GPU one after the other: its compiler times kernels, and others would be timed with them. What the
    compiler refuses is a `UserError` that names the width.
    """
    if not settings:
        return {}
    workers = 1 if platform == "gpu" else min(len(settings), usable_cores())
    with ThreadPoolExecutor(workers, thread_name_prefix="compile") as pool:
        begun = {setting.width: pool.submit(compiled, setting) for setting in settings}
        try:
            return {width: _made(width, program) for width, program in begun.items()}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _made(width: int, program: Future[Any]) -> Any:
    try:
        return program.result()
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"the step for batches of {width} tokens is not compiled: {str(error).splitlines()[0]}",
            where="training.bucket_widths",
            remedy="leave this width out, or choose a smaller training.batch_size",
        ) from error
