"""`failure_analysis.md`: what failed, why, what was tried, what to do next."""

import re
from typing import NamedTuple

from tunix_exp.report.markdown import named


class _Known(NamedTuple):
    """A failure that XLA tells under a name of its own: how it reads, what it means, the remedies."""

    pattern: str
    cause: str
    remedies: tuple[str, ...]


_LESS_MEMORY = (
    "read `plan.json` of this directory: it says what the memory goes to",
    "double `optim.accumulation_steps`: the batch goes through in smaller parts, the update stays the same",
    "set `model.remat=block`: activations are computed again instead of kept",
    "lower `data.max_tokens` last: it changes what the model learns from",
    "see with `nvidia-smi`, or `tpu-info` on a TPU, whether another process holds the memory",
)

# Whatever the case of letters; the first that fits decides, so the more particular stand first.
_KNOWN = (
    _Known(
        r"No space left on device|Disk quota exceeded|Errno (?:28|122)\b",
        "The disk is full, or the quota on it is used up.",
        ("free space, or lower `training.keep_checkpoints`; `hydra.run.dir=PATH` writes the run elsewhere",),
    ),
    _Known(
        r"TPU is already in use|libtpu\.so.{0,20}already in use|libtpu_lockfile",
        "Another process on this machine holds the TPU, and a TPU serves one process at a time{process}.",
        (
            "end the other process; in a notebook, restart its kernel: a cell that touched JAX holds the TPU",
            "if no process is left, a killed one left its lock behind: remove `/tmp/libtpu_lockfile`",
        ),
    ),
    _Known(
        r"/dev/(?:accel|vfio)\S*.{0,80}(?:busy|in use)|(?:busy|in use).{0,80}/dev/(?:accel|vfio)",
        "Another process on this machine holds the TPU's device file.",
        ("end the other process (`sudo lsof -w /dev/accel* /dev/vfio/*` names it), then run again",),
    ),
    _Known(
        r"CUDA_ERROR_(?:DEVICE_UNAVAILABLE|NOT_PERMITTED|SYSTEM_NOT_READY)"
        r"|devices? (?:is|are) busy or unavailable",
        "The GPU is held by another process, perhaps exclusively, or is not ready.",
        (
            "see with `nvidia-smi` who uses the GPU",
            "end that process, or choose another GPU with CUDA_VISIBLE_DEVICES",
        ),
    ),
    _Known(
        r"No reference output found",
        "The GPU ran out of memory while XLA tried kernels: what JAX reserved left them no room.",
        (
            "device.memory_fraction=0.6 leaves room outside the reserve",
            *_LESS_MEMORY,
        ),
    ),
    _Known(
        r"RESOURCE_EXHAUSTED|out of memory|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED"
        r"|exceed\w* (?:the )?(?:hbm|device memory)|failed to allocate|std::bad_alloc|MemoryError",
        "The device ran out of memory{amounts}.",
        _LESS_MEMORY,
    ),
    _Known(
        r"CUDNN_STATUS_(?:INTERNAL_ERROR|NOT_INITIALIZED)|DNN library initialization failed",
        "cuDNN could not start: most often the GPU's memory is already taken, else its version does not fit.",
        (
            "see with `nvidia-smi` whether another process holds the GPU's memory",
            "install the locked CUDA libraries, `uv sync --locked --extra cuda`, and unset LD_LIBRARY_PATH",
        ),
    ),
    _Known(
        r"TPU_WORKER_HOSTNAMES|slice_builder|expected \d+ (?:worker|host|process)\w*"
        r"|(?:Barrier|coordination service).{0,80}(?:timed out|DEADLINE_EXCEEDED)"
        r"|DEADLINE_EXCEEDED.{0,80}(?:Barrier|coordination)",
        "The processes of a run over several hosts did not all meet, or one host was taken for several.",
        (
            "start the same command on every host of the slice, at about the same time",
            "on a single host, unset TPU_WORKER_HOSTNAMES and TPU_WORKER_ID, which claim that there are more",
        ),
    ),
    _Known(
        r"Unable to initialize backend|No visible \w+ devices|CUDA_ERROR_NO_DEVICE|Unknown backend",
        "JAX did not find the platform that `device` asks for.",
        (
            "install its support: `uv sync --locked --extra cuda` or `--extra tpu`",
            "see what JAX finds: `python -c 'import jax; print(jax.devices())'`",
            "or run without an accelerator: `device=cpu`",
        ),
    ),
)
_UNKNOWN = _Known(
    "",
    "This failure is not among the known ones; the message is the library's own.",
    (
        "read the traceback from its end: the last line of this package's own code is where it stopped",
        "run it small: `mode=smoke` takes two steps through the same code",
    ),
)


def failure_analysis(
    stage: str,
    error_type: str,
    message: str,
    where: str | None,
    remedy: str | None,
    traceback_text: str | None,
) -> str:
    """The Markdown text of `failure_analysis.md`; a known XLA failure is told in plain words first.

    The message itself always stands there verbatim. A failure that is not known is said to be so.
    """
    text = f"{error_type}: {message}"
    known = _known(text) or (_UNKNOWN if remedy is None else None)
    parts = [f"# The run failed in stage `{stage}`", "## Cause"]
    parts += [] if known is None else [_with_figures(known.cause, message)]
    parts += [] if where is None else [f"Where: {named(where)}"]
    parts += [_fenced(text), "## What was tried"]
    parts.append(
        f"The run came as far as stage `{stage}` and stopped there at the first error. Nothing was tried "
        "again, replaced or skipped; what was written until then lies in this directory."
    )
    steps = [*([] if remedy is None else [remedy]), *(() if known is None else known.remedies)]
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1))
    parts += ["## What to do next", numbered]
    parts += [] if traceback_text is None else ["## Traceback", _fenced(traceback_text)]
    return "\n\n".join(parts) + "\n"


def _known(text: str) -> _Known | None:
    fits = (known for known in _KNOWN if re.search(known.pattern, text, re.IGNORECASE | re.DOTALL))
    return next(fits, None)


def _with_figures(cause: str, message: str) -> str:
    used = re.search(r"Used ([\d.]+[KMGT]?) of ([\d.]+[KMGT]?)", message)
    asked = re.search(r"(?:allocat\w+|reserve) ([\d.]+) ?(bytes|[KMGT]i?B)", message, re.IGNORECASE)
    process = re.search(r"process with pid (\d+)", message)
    amounts = ""
    if used is not None:
        amounts = f": the program needs {used[1]} of {used[2]}"
    elif asked is not None:
        amounts = f" when it was asked for {asked[1]} {asked[2]} more"
        if asked[2].lower() == "bytes" and asked[1].isdigit():
            amounts = f" when it was asked for {int(asked[1]) / 2**30:.2f} GiB more"
    holder = "" if process is None else f" (here the one with number {process[1]})"
    return cause.format(amounts=amounts, process=holder)


def _fenced(text: str) -> str:
    """The text as a code block, in a fence longer than any that the text holds."""
    longest = max((len(fence) for fence in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"
