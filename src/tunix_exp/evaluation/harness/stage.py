"""The harness's part of a run: its tasks, what each model makes of them, and the evidence of both."""

from typing import Any

from tunix_exp.data.config import TemplateConfig
from tunix_exp.data.tokenizer import Tokenizer
from tunix_exp.evaluation.config import HarnessEvalConfig
from tunix_exp.evaluation.harness.tasks import Tasks, load_tasks
from tunix_exp.evidence import sections as records
from tunix_exp.evidence.kinds import harness as kinds
from tunix_exp.evidence.kinds.harness import documents_hash, harness_headline
from tunix_exp.evidence.kinds.read import read_rows
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.models.architecture import LanguageModel
from tunix_exp.scoring.harness import Outcome, harness_summary

_FILES = {
    "base": (kinds.BASE, kinds.BASE_SAMPLES),
    "trained": (kinds.TRAINED, kinds.TRAINED_SAMPLES),
}


def prepare(
    config: HarnessEvalConfig, template: TemplateConfig, num_positions: int, evidence: RunDirectory
) -> Tasks:
    """The tasks with their documents, which the manifest names."""
    tasks = load_tasks(config, system=template.system, num_positions=num_positions, say=evidence.log.say)
    documents = list(tasks.documents())
    evidence.update(
        eval=records.HarnessEval(
            kind="harness",
            name=config.name,
            lm_eval=tasks.lm_eval_version,
            tasks=config.tasks,
            rows=len(documents),
            sha256=documents_hash(documents),
        )
    )
    evidence.log.say(f"harness: {len(documents)} items of {', '.join(tasks.loaded['tasks'])}")
    return tasks


def ask(
    which: str, model: LanguageModel, tasks: Tasks, tokenizer: Tokenizer, evidence: RunDirectory
) -> Outcome:
    """What `model` makes of the tasks, which lies in the run directory by then."""
    answered = tasks.ask(
        model,
        tokenizer,
        progress=lambda total, what: evidence.log.progress(total, f"{which} {what}"),
        say=evidence.log.say,
    )
    results, samples = _FILES[which]
    evidence.write(results, answered.results)
    evidence.write(samples, answered.rows)
    for name, part in answered.results["tasks"].items():
        if part["n_cut"]:
            evidence.log.say(
                f"harness: {part['n_cut']} requests of {name} exceed the model's context: "
                "truncated on the left"
            )
    return Outcome(answered.results, read_rows(samples, evidence.root))


def compare(
    base: Outcome, trained: Outcome | None, *, resamples: int, seed: int, evidence: RunDirectory
) -> tuple[dict[str, Any], records.Headline]:
    """The summary and the headline, both in the run directory."""
    summary = harness_summary(base, trained, resamples=resamples, seed=seed)
    headline = harness_headline(summary)
    evidence.write(kinds.SUMMARY, summary)
    evidence.update(headline=headline)
    return summary, headline
