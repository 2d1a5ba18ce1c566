"""A whole run directory as a page reads it, and what a page holds once it is drawn."""

import base64
import gzip
import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tests.report.run_files import MANIFEST, write_run
from tunix_exp.evidence.summary import eval_summary, headline
from tunix_exp.scoring.paired import Evaluation, ItemLoss
from tunix_exp.scoring.scorecard import Prediction

CONFIG: dict[str, Any] = {
    "name": "nano",
    "seed": 7,
    "optim": {"name": "adamw", "peak_lr": 0.003, "warmup_steps": 40},
    "training": {"steps": 4, "epochs": None},
    "eval": {"kind": "items", "resamples": 1000, "fields": {"id": "id"}},
    "mode": {"name": "full"},
}
DEFAULTS: dict[str, Any] = CONFIG | {
    "optim": CONFIG["optim"] | {"peak_lr": 0.001},
    "training": {"steps": 400, "epochs": None, "stop_at_step": None},
}
PLAN: dict[str, Any] = {
    "platform": "cpu",
    "topology": None,
    "mesh": {"data": 1, "fsdp": 1, "tensor": 1},
    "device_memory_bytes": 1000 * 2**20,
    "planned": {
        "parameters_bytes": 100 * 2**20,
        "gradients_bytes": 40 * 2**20,
        "block_gradients_bytes": 60 * 2**20,
        "optimizer_state_bytes": 200 * 2**20,
        "compute_weights_bytes": 0,
        "saved_activations_bytes": 50 * 2**20,
        "block_bytes": 30 * 2**20,
        "loss_bytes": 20 * 2**20,
        "batch_bytes": 2**20,
        "total_bytes": 481 * 2**20,
    },
    "compiled": {"peak_bytes": 500 * 2**20},
    "compiled_answer": None,
    "not_compiled": None,
    "attention": {"kernel": "einsum", "reason": "as device.attention says"},
    "work": {"model_flops": 1e10, "flops": 1.2e10, "hbm_bytes": 2**30, "roofline_s": None, "bound": None},
    "evaluation": None,
    "fits": True,
}
VOID = {"meta", "link", "input", "br", "img"}


def answers(correct: str, output: str = "12\nAnswer: {}") -> list[Prediction]:
    """One prediction per sign, right at every `+`; sections, categories and difficulties take turns."""
    return [
        Prediction(
            id=f"item-{place}", prompt=f"What is {place}?", expected_answer=str(place),
            output=output.replace("{}", str(place) if sign == "+" else "none"),
            extracted_answer=str(place) if sign == "+" else None, correct=sign == "+",
            section="core" if place % 3 else "edge", category="even" if place % 2 == 0 else "odd",
            difficulty=None, tokens=5, stop_reason="eos",
        )
        for place, sign in enumerate(correct)
    ]  # fmt: skip


def write_folder(
    root: Path,
    *,
    losses: Sequence[float] = (3.0, 2.0, 1.0, 0.5),
    base: list[Prediction] | None = None,
    trained: list[Prediction] | None = None,
    manifest: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """`root` holds a run: with losses it has trained, with answers it was evaluated."""
    root.mkdir(parents=True, exist_ok=True)
    says = MANIFEST | (manifest or {})
    if base is not None:
        says |= {"headline": _evaluate(root, base, trained)}
    write_run(root, losses=list(losses), manifest=says)
    if not losses:
        (root / "metrics.jsonl").unlink()
    texts = {"README.md": "# A run", "env_info.txt": "python 3", "uv.lock": "version = 1"}
    for name, text in texts.items():
        (root / name).write_text(text + "\n")
    (root / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    (root / "plan.json").write_text(json.dumps(PLAN))
    (root / ".hydra").mkdir()
    (root / ".hydra" / "defaults.json").write_text(json.dumps(DEFAULTS))
    (root / ".hydra" / "overrides.yaml").write_text("- training.steps=4\n- optim.peak_lr=0.003\n")
    return root


def _evaluate(root: Path, base: list[Prediction], trained: list[Prediction] | None) -> dict[str, Any]:
    (root / "predictions").mkdir()
    for name, made in (("base", base), ("trained", trained)):
        lines = [json.dumps(one.to_dict()) + "\n" for one in made or ()]
        if lines:
            (root / "predictions" / f"{name}.jsonl").write_text("".join(lines))
    before = Evaluation(base, _losses(base, 3.25))
    after = None if trained is None else Evaluation(trained, _losses(trained, 0.5))
    summary = eval_summary(before, after, resamples=1000, seed=0, form=None)
    (root / "eval_summary.json").write_text(json.dumps(summary))
    return headline(summary).model_dump(mode="json")


def _losses(answered: list[Prediction], nats: float) -> list[ItemLoss]:
    return [ItemLoss(one.id, nats + place % 3 / 100, 1) for place, one in enumerate(answered)]


class Page(HTMLParser):
    """A page taken apart; an element that is not closed, or closed twice, fails at once."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inner: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.inner.setdefault(self._open[-1] if self._open else "", []).append(data)
        if self._open and self._open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        """What a reader sees, in single spaces."""
        return " ".join(" ".join(self.texts).split())

    def attributes(self, name: str) -> list[str]:
        """Every value of an attribute."""
        return [str(found[name]) for _, found in self.elements if name in found]

    @property
    def data(self) -> Any:
        """What the page's script draws."""
        packed = self.inner["script"][1]
        return json.loads(gzip.decompress(base64.b64decode(packed)))
