"""One run by several processes beside the same by one, on devices of this machine's processor, as JSON lines.

    python bench/hosts.py [--cases full,lora,…] [--folder F]

full, lora    two processes of four devices each, and one of eight: losses, held-out losses and answers
four          four processes of two devices
to, from      a checkpoint of one process gone on from by two, and the other way round
killed        process 0, or 1, is killed in training: what the run says, and after how many seconds
stopped       SIGTERM to process 1: all stop after the same step, with a checkpoint
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORDS = (
    "model=tiny-gemma", "device=cpu", "device.compilation_cache=null", "training.steps=12",
    "training.batch_size=8", "training.save_every_steps=4", "optim.warmup_steps=1",
    "eval.max_items=24", "eval.max_new_tokens=16", "eval.heldout_every_steps=4",
)  # fmt: skip
LORA = ("adapter=lora",)
ENDLESS = ("training.steps=1000000", "training.save_every_steps=null", "eval.heldout_every_steps=null")


def begun(folder: Path, processes: int, *words: str, devices: int = 8) -> list[subprocess.Popen[bytes]]:
    """The run in `folder` under way in so many processes, which share so many devices."""
    flags = f"--xla_force_host_platform_device_count={devices // processes}"
    environ = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    found = []
    for process in range(processes):
        shared = {"coordinator": f"127.0.0.1:{port}", "processes": processes, "process": process}
        hosts = (
            [f"device.distributed.{key}={value}" for key, value in shared.items()] if processes > 1 else []
        )
        hosts += ["device.distributed.timeout_s=30"] if hosts else []
        command = [sys.executable, "-m", "tunix_exp", *WORDS, f"hydra.run.dir={folder}", *hosts, *words]
        with (folder.parent / f"{folder.name}.{process}.txt").open("wb") as said:
            found.append(subprocess.Popen(command, env=environ, stdout=said, stderr=said))
    return found


def ended(folder: Path, processes: int, *words: str, status: int = 0) -> Path:
    codes = [one.wait() for one in begun(folder, processes, *words)]
    assert codes == [status] * processes, (folder, codes)
    return folder


def compared(one: Path, other: Path) -> dict[str, Any]:
    """How far the losses of two runs lie apart, and whether their answers are equal."""
    found: dict[str, Any] = {}
    files = {"metrics.jsonl": "loss", "heldout.jsonl": "loss_nats", "heldout/trained.jsonl": "nats"}
    for file, key in files.items():
        rows, due = (
            {row.get("step", row.get("id")): row[key] for row in _rows(run / file)} for run in (one, other)
        )
        apart = [abs(rows[step] / due[step] - 1) for step in rows.keys() & due.keys()]
        found[file] = {"rows": len(apart), "largest_relative_difference": max(apart)}
    for which in ("base", "trained"):
        rows, due = (_rows(run / f"predictions/{which}.jsonl") for run in (one, other))
        found[f"{which} answers"] = {"rows": len(rows), "are_equal": rows == due}
    manifest = json.loads((one / "run_manifest.json").read_text())
    devices = [host["devices"] for host in manifest["hosts"] or ()]
    verified = subprocess.run([sys.executable, "-m", "tunix_exp", "verify", one], capture_output=True)
    return {"status": manifest["status"], "devices": devices, "is_verified": verified.returncode == 0} | found


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def killed(folder: Path, which: int, number: signal.Signals) -> dict[str, Any]:
    """One of two processes gets a signal in training: how the other ended, and what the run says of it."""
    processes = begun(folder, 2, *ENDLESS)
    while not (folder / "metrics.jsonl").exists():
        assert all(one.poll() is None for one in processes), folder
        time.sleep(0.1)
    begin = time.monotonic()
    processes[which].send_signal(number)
    other = processes[1 - which].wait()
    seconds = time.monotonic() - begin
    while (manifest := json.loads((folder / "run_manifest.json").read_text()))["status"] == "running":
        time.sleep(0.1)
    saved = sorted(int(one.name) for one in (folder / "checkpoints").glob("*") if one.name.isdigit())
    return {
        "signal": number.name, "to": which, "other_ended_after_s": round(seconds, 1), "with_status": other,
        "run_ended_after_s": round(time.monotonic() - begin, 1), "status": manifest["status"],
        "error": manifest["error"]["message"].replace(socket.gethostname(), "HOST"), "saved": saved,
    }  # fmt: skip


def cases(folder: Path, wanted: list[str]) -> Iterator[dict[str, Any]]:
    """A line for each case."""
    runs: dict[str, Path] = {}

    def run(name: str, processes: int, *words: str, status: int = 0) -> Path:
        if name not in runs:
            runs[name] = ended(folder / name, processes, *words, status=status)
        return runs[name]

    for name in wanted:
        match name:
            case "full":
                found = compared(run("two", 2), run("one", 1))
            case "lora":
                found = compared(run("lora-two", 2, *LORA), run("lora-one", 1, *LORA))
            case "four":
                found = compared(run("four", 4), run("one", 1))
            case "to":
                early = run("one-early", 1, "training.stop_at_step=4", status=130)
                found = compared(run("to", 2, f"training.resume={early}"), run("one", 1))
            case "from":
                early = run("two-early", 2, "training.stop_at_step=4", status=130)
                found = compared(run("from", 1, f"training.resume={early}"), run("one", 1))
            case "killed":
                yield {"case": name} | killed(folder / "killed-0", 0, signal.SIGKILL)
                found = killed(folder / "killed-1", 1, signal.SIGKILL)
            case _:
                found = killed(folder / "stopped", 1, signal.SIGTERM)
        yield {"case": name} | found


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--cases", default="full,lora,four,to,from,killed,stopped")
    words.add_argument("--folder", type=Path)
    chosen = words.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="hosts-"))
    folder.mkdir(parents=True, exist_ok=True)
    for line in cases(folder, chosen.cases.split(",")):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
