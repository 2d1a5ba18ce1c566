"""Sweeps made up of run directories: what their jobs gave is given."""

import json
from pathlib import Path
from typing import Any

from tests.report.page.run_folder import CONFIG, answers, write_folder

ERROR = {"stage": "training", "type": "X", "message": "loss is nan", "where": None, "remedy": None}


def write_job(root: Path, number: int, words: list[str], correct: str | None, **manifest: Any) -> Path:
    """Job `number` with the words of its own; right at every `+`, failed where `correct` is `None`."""
    said = dict(word.split("=", 1) for word in words)
    seed = int(said.get("seed", "0"))
    status = {"status": "failed", "error": ERROR} if correct is None else {"status": "completed"}
    run = write_folder(
        root / str(number),
        base=None if correct is None else answers("-" * len(correct)),
        trained=None if correct is None else answers(correct),
        config=CONFIG | {"seed": seed},
        manifest={**status, "seed": seed, "elapsed_s": 2.5, **manifest},
    )
    (run / ".hydra" / "overrides.yaml").write_text("".join(f"- {word}\n" for word in words))
    if correct is not None:
        lines = [f'{{"id": "item-{n}", "nats": {1.0 + n % 3 / 10 - number / 100}, "tokens": 1}}\n'
                 for n in range(len(correct))]  # fmt: skip
        summary = json.loads((run / "eval_summary.json").read_text())
        nats = [json.loads(line)["nats"] for line in lines]
        summary["trained"]["heldout_loss_nats"] = sum(nats) / len(nats)
        (run / "eval_summary.json").write_text(json.dumps(summary))
        (run / "heldout").mkdir()
        for model in ("base", "trained"):
            (run / "heldout" / f"{model}.jsonl").write_text("".join(lines))
    return run


def write_sweep(root: Path) -> Path:
    """Two rates with two seeds each, and a rate at which both failed."""
    rows = ["+" * 36 + "-" * 4, "+" * 34 + "-" * 6, "-" * 40, "+" * 4 + "-" * 36]
    for place, correct in enumerate([*rows, None, None]):
        rate, seed = ("1e-3", "1e-5", "9")[place // 2], place % 2
        write_job(root, place, ["mode=smoke", f"optim.peak_lr={rate}", f"seed={seed}"], correct)
    return root
