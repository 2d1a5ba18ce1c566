"""What the evidence of a run may choose for its replay by itself, and what needs the user's word.

A run may come from a stranger. Its config is data: it has no file written, read or run on this machine.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath

from tunix_exp import references
from tunix_exp.config import Plain
from tunix_exp.errors import UserError
from tunix_exp.evidence.pack import LISTING
from tunix_exp.evidence.sections import training_sources
from tunix_exp.evidence.verified import VerifiedRun, at

# Flags that decide what is computed, and how fast; none of them names a place, or loads anything.
OWN_FLAGS = frozenset(
    {
        "xla_allow_excess_precision",
        "xla_backend_optimization_level",
        "xla_cpu_enable_fast_math",
        "xla_cpu_enable_fast_min_max",
        "xla_cpu_fast_math_honor_division",
        "xla_cpu_fast_math_honor_functions",
        "xla_cpu_fast_math_honor_infs",
        "xla_cpu_fast_math_honor_nans",
        "xla_cpu_max_isa",
        "xla_cpu_multi_thread_eigen",
        "xla_cpu_prefer_vector_width",
        "xla_cpu_use_thunk_runtime",
        "xla_force_host_platform_device_count",
        "xla_gpu_autotune_level",
        "xla_gpu_deterministic_ops",
        "xla_gpu_enable_cublaslt",
        "xla_gpu_enable_latency_hiding_scheduler",
        "xla_gpu_enable_triton_gemm",
        "xla_gpu_exclude_nondeterministic_ops",
    }
)
_FLAG = re.compile(r"--(xla_\w+)(?:=\w{1,32})?", re.ASCII)

# Task files hold Python that runs when they are read.
_CODE = "eval.include_path"


def refuse_unasked(
    original: VerifiedRun, plain: Plain, *, told: Collection[str], flags: bool, paths: bool
) -> None:
    """Nothing, or a `UserError` that shows the flags and the paths that the run chose and nobody agreed to.

    `told` are the keys whose places the user named or the archive brought; `flags` and `paths` are the user's
    word.
    """
    found = [] if flags else list(_strange_flags(plain))
    if found:
        raise UserError(
            f"the run asks XLA for what may write, read or load files: {' '.join(found)}",
            where="device.xla_flags",
            remedy="look at them, and say --allow-flags if you want them all; by itself a run may choose "
            + ", ".join(sorted(OWN_FLAGS)),
        )
    places = [] if paths else [(key, at(plain, key)) for key in _strange_places(original, plain, told)]
    if places:
        listed = ", ".join(f"{key}={place}" for key, place in places)
        raise UserError(
            f"the run names places on this machine that nothing vouches for: {listed}",
            where=str(original.root),
            remedy=f"say where each lies now: {' '.join(f'{key}=PATH' for key, _ in places)}; or, if you "
            "know the run, --allow-paths",
        )


def drop_cache(plain: Plain, *, paths: bool) -> None:
    """`plain` keeps compiled programs nowhere, unless the user's word allows the run's place.

    Where they are kept changes no number; programs that lie in a place of the run's choice would be run.
    """
    if not paths:
        plain["device"]["compilation_cache"] = None


def _strange_flags(plain: Plain) -> Iterator[str]:
    # XLA reads one text: what stands in one element may spell several flags
    for word in " ".join(at(plain, "device.xla_flags") or ()).split():
        match = _FLAG.fullmatch(word)
        if match is None or match[1] not in OWN_FLAGS:
            yield word


def _strange_places(original: VerifiedRun, plain: Plain, told: Collection[str]) -> Iterator[str]:
    is_packed = (original.root.resolve().parent / LISTING).is_file()
    model, adapter = original.manifest.model, original.manifest.adapter
    data = original.manifest.data
    vouched = {
        **dict.fromkeys(("data.source",) if data is None else training_sources(data), data is not None),
        "eval.source": original.manifest.eval is not None and original.manifest.eval.kind == "items",
        "model.weights": model is not None and _are_plain(model.files),
        "adapter.weights": adapter is not None and _are_plain(adapter.files),
        "model.tokenizer": model is not None and model.tokenizer_digest is not None,
    }
    for key in (*vouched, _CODE):
        place = at(plain, key)
        is_local = isinstance(place, str) and isinstance(references.parse(place, key=key), references.Local)
        if is_local and key not in told and (is_packed or key == _CODE or not vouched[key]):
            yield key


def _are_plain(files: Collection[str]) -> bool:
    """Whether there are files to compare with, and each lies in the folder that is named."""
    names = [PurePosixPath(name) for name in files]
    return bool(names) and not any(name.is_absolute() or ".." in name.parts for name in names)
