"""The project against its peers, one after the other on one machine, again and again; and the page of it.

uv run python bench/compare.py --peers FOLDER --venvs FOLDER                  # W1 … W5, five rounds
uv run python bench/compare.py --peers … --venvs … --workloads W1,W3 --rounds 7 --peers-per-workload 2
uv run python bench/compare.py --peers … --venvs … --workloads W6 --gsm8k FILE --tokenizer FOLDER
uv run python bench/compare.py --page                                         # docs/benchmarks.md

`--peers` is a folder of scripts that take `--workload` and print a line as bench/bench.py does, `--venvs` one
of their environments. Every run is a process of its own that begins when the machine is quiet; one that was
disturbed is made again. Within a round everybody runs each workload once, in the other order in every other
round. Every line is added to bench/results.jsonl.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import report
from stopwatch import Clocks

BENCH = Path(__file__).resolve().parent
OURS = "tunix_exp"
# The project's own, beside what it does by itself: the whole program, and rows packed.
OTHER_WAYS = {"W6": ("tunix_exp_packed",), "W7": ("tunix_exp_cli",)}
PACKED = ("training.batching=packed", "training.bucket_widths=null")
CPU = {"JAX_PLATFORMS": "cpu"}
OWN_VARIABLES = ("XLA_", "JAX_", "OMP_", "MKL_", "TORCHINDUCTOR_", "GLIBC_", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True)
class Peer:
    """A script of the peers' folder (or of bench/peers) and the environment that it runs in."""

    venv: str
    script: str
    words: tuple[str, ...] = ()


PEERS = {
    "hf_flax4_jax0.10": Peer("flax4new", "hf_flax4.py", ("--label", "hf_flax4_jax0.10")),
    "hf_flax4_jax0.10_jit": Peer(
        "flax4new", "hf_flax4.py", ("--label", "hf_flax4_jax0.10", "--variant", "jit")
    ),
    "hf_flax4_jax0.4": Peer("flax4", "hf_flax4.py", ("--label", "hf_flax4_jax0.4")),
    "hf_torch": Peer("hf5", "hf_torch.py"),
    "hf_torch_fused": Peer("hf5", "hf_torch.py", ("--variant", "fused")),
    "hf_torch_compile": Peer("hf5", "hf_torch.py", ("--variant", "compile")),
    "hf_torch_compile_warm": Peer("hf5", "hf_torch.py", ("--variant", "compile_warm")),
    "hf_trl": Peer("hf5", "hf_trl.py"),
    "tunix": Peer("tunix", "tunix_peer.py"),
    "kerashub": Peer("kerashub", "kerashub_peer.py"),
    "levanter": Peer("lev312", "levanter_peer.py"),
    "trl_padded": Peer("hf5", "gsm8k_trl.py"),
    "trl_packed": Peer("hf5", "gsm8k_trl.py", ("--packing",)),
    "tunix_padded": Peer("tunix", "gsm8k_tunix.py"),
    "flax4_padded": Peer("flax4new", "gsm8k_flax4.py"),
    "llama_torch_compile": Peer("hf5", "llama_torch.py"),
    "llama_torch_eager": Peer("hf5", "llama_torch.py", ("--eager",)),
    "torch": Peer("hf5", "gpu_torch.py"),
    "torch_bfloat16": Peer("hf5", "gpu_torch.py", ("--weights", "bfloat16")),
    "torch_checkpointing": Peer("hf5", "gpu_torch.py", ("--checkpointing",)),
    "torch_eager": Peer("hf5", "gpu_torch.py", ("--eager",)),
    "gpu_tunix": Peer("tunix", "gpu_tunix.py"),
    "gpu_tunix_remat": Peer("tunix", "gpu_tunix.py", ("--remat",)),
}
# Fastest first, by the table in the peers' README; the leanest JAX peer of W1 … W3 and W5 is among the first
# four, and W7 begins with the JAX peer that is ready first.
RANKED = {
    "W1": "hf_flax4_jax0.10 hf_torch_compile tunix hf_torch_fused hf_torch kerashub hf_trl levanter",
    "W2": "hf_flax4_jax0.10 hf_torch_compile tunix hf_flax4_jax0.4 kerashub hf_torch hf_trl levanter",
    "W3": "hf_torch_compile hf_torch tunix hf_flax4_jax0.10 hf_flax4_jax0.4 kerashub hf_trl levanter",
    "W4": "tunix kerashub hf_flax4_jax0.10_jit hf_torch_compile hf_torch hf_flax4_jax0.10",
    "W5": "hf_flax4_jax0.10 hf_torch_compile hf_torch_fused kerashub hf_torch tunix levanter hf_trl",
    "W6": "trl_padded trl_packed tunix_padded flax4_padded",
    "W7": "tunix hf_torch hf_torch_compile_warm hf_flax4_jax0.10 kerashub",
    "W8": "llama_torch_compile llama_torch_eager",
    "G1": "torch_bfloat16 torch torch_checkpointing gpu_tunix gpu_tunix_remat",
    "G2": "torch torch_checkpointing gpu_tunix gpu_tunix_remat",
    "G3": "torch torch_eager",
}
# Scripts of this repository; all others are of the peers' folder.
OWN_SCRIPTS = {name for name, peer in PEERS.items() if peer.script.startswith(("gsm8k_", "gpu_", "llama_"))}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--page", action="store_true", help="write docs/benchmarks.md from what is kept")
    words.add_argument("--peers", type=Path, default=BENCH / "peers", help="folder of the peers' scripts")
    words.add_argument("--venvs", type=Path, help="folder of the peers' environments")
    words.add_argument("--workloads", default="W1,W2,W3,W4,W5")
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--peers-per-workload", type=int, default=3)
    words.add_argument("--only", help="these peers, and no others")
    words.add_argument("--once", default="", help="these sides run in the first round alone")
    words.add_argument("--gsm8k", type=Path, help="W6: train.jsonl")
    words.add_argument("--tokenizer", type=Path, help="W6: folder of GPT-2's tokenizer")
    words.add_argument("--timed", help="timed steps or calls, else each script's own")
    words.add_argument("--quiet-cores", type=float, default=0.3, help="others' load that is still quiet")
    words.add_argument("--wait-s", type=float, default=300, help="for a quiet machine, then run all the same")
    words.add_argument("--out", type=Path, default=BENCH / "results.jsonl")
    words.add_argument("--doc", type=Path, default=BENCH.parent / "docs" / "benchmarks.md")
    chosen = words.parse_args()
    if chosen.page:
        report.write_page(chosen.out, chosen.doc)
        return
    if chosen.venvs is None:
        words.error("--venvs names the peers' environments")
    for row in measured(chosen):
        with chosen.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(report.line(row), flush=True)


def measured(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every row of a session, as it comes."""
    session = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for number in range(chosen.rounds):
        place = {"session": session, "round": number}
        if "W" in chosen.workloads:
            yield place | _once([sys.executable, str(BENCH / "gemm.py")], CPU, chosen)
        for workload in chosen.workloads.split(","):
            ranked = RANKED[workload.replace("T", "G")].split()
            peers = ranked[: chosen.peers_per_workload]
            if chosen.only:
                peers = [name for name in ranked if name in chosen.only.split(",")]
            sides = [OURS, *OTHER_WAYS.get(workload, ()), *peers]
            if number:
                sides = [name for name in sides if name not in chosen.once.split(",")]
            for name in reversed(sides) if number % 2 else sides:
                with tempfile.TemporaryDirectory() as cache:
                    yield place | _measured(name, workload, cache, chosen) | {"peer": name}


def _measured(name: str, workload: str, cache: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """One side on one workload; W7 is W1's first step, with an empty cache and once more with a full one."""
    environ = {} if workload.startswith("G") else CPU
    if workload != "W7":
        return _once(_command(name, workload, None, chosen), environ, chosen)
    command = _command(name, "W1", cache, chosen)
    own_cache = {"TORCHINDUCTOR_CACHE_DIR": cache} if name == "hf_torch_compile_warm" else {}
    # A second attempt would find the cache filled.
    first, second = (_once(command, environ | own_cache, chosen, attempts=1) for _ in range(2))
    if "error" in first or "error" in second:
        return {"workload": "W7", "error": [row.get("error") for row in (first, second)]}
    kept = ("peak_rss_mb", "other_cores_cold", "versions", "date", "attempt")
    rows = {"cold_s": first["cold_s"], "second_cold_s": second["cold_s"], "workload": "W7"}
    return rows | {key: first[key] for key in kept if key in first}


def _command(name: str, workload: str, cache: str | None, chosen: argparse.Namespace) -> list[str]:
    timed = ["--timed", chosen.timed] if chosen.timed else ["--timed", "1"] if cache else []
    if name == "tunix_exp_cli":
        return [sys.executable, str(BENCH / "first_step.py"), str(cache)]
    data = ["--gsm8k", str(chosen.gsm8k), "--tokenizer", str(chosen.tokenizer)] if workload == "W6" else []
    if name.startswith(OURS):
        kept = ["--cache", cache] if cache else []
        more = PACKED if name == "tunix_exp_packed" else ()
        return [sys.executable, str(BENCH / "bench.py"), workload, *more, *kept, *data, *timed]
    peer = PEERS[name]
    folder = BENCH / "peers" if name in OWN_SCRIPTS else chosen.peers
    which = data or ([workload] if name in OWN_SCRIPTS else ["--workload", workload])
    python = chosen.venvs / peer.venv / "bin" / "python"
    return [str(python), str(folder / peer.script), *which, *peer.words, *timed]


def _once(
    command: list[str], more: dict[str, str], chosen: argparse.Namespace, *, attempts: int = 3
) -> dict[str, Any]:
    """The row of one process; when others used the machine meanwhile, of the calmest of a few."""
    rows = []
    for attempt in range(attempts):
        waited_s = _wait_for_quiet(chosen.quiet_cores, chosen.wait_s)
        row = _run(command, more) | {"attempt": attempt, "waited_s": round(waited_s, 1)}
        rows.append(row)
        if "error" in row or _disturbance(row) <= chosen.quiet_cores:
            return row
    return min(rows, key=_disturbance)


def _disturbance(row: dict[str, Any]) -> float:
    """Cores that others used while the row was measured."""
    return row.get("other_cores", 0.0)


def _run(command: list[str], more: dict[str, str]) -> dict[str, Any]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(OWN_VARIABLES)}
    environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "TOKENIZERS_PARALLELISM": "false", **more}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        print(done.stderr[-2000:], file=sys.stderr)
        return {"error": f"exit status {done.returncode}"}
    return json.loads(lines[-1])


def _wait_for_quiet(cores: float, most_s: float, window_s: float = 2.0) -> float:
    """Seconds waited until the machine was quiet, or `most_s`."""
    begun = time.monotonic()
    while True:
        before = Clocks.now()
        time.sleep(window_s)
        busy = Clocks.now().cores_of_others(before)
        if busy <= cores or time.monotonic() - begun > most_s:
            return time.monotonic() - begun


if __name__ == "__main__":
    main()
