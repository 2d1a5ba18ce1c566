"""One experiment, top to bottom: each stage takes what it needs, and leaves its evidence."""

from datetime import datetime

from tunix_exp.config import RunConfig
from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds.origin import Origin
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.stages import Stages
from tunix_exp.evidence.strict_json import read_json_object
from tunix_exp.evidence.summary import Baseline
from tunix_exp.host_memory import give_back
from tunix_exp.models.weights import check_access
from tunix_exp.objectives import registry
from tunix_exp.programs import forget_programs_when_many
from tunix_exp.stages.comparison import compare
from tunix_exp.stages.device import checked_device
from tunix_exp.stages.export import export
from tunix_exp.stages.hosts import check_inputs, check_outcome, record_hosts, refuse_sampling
from tunix_exp.stages.origin import check_tokenizer, checked_origin, keep_origin
from tunix_exp.stages.plan.evaluation import PlannedEvaluation, planned_evaluation
from tunix_exp.stages.plan.step import PlannedStep, planned_step
from tunix_exp.stages.report import complete, record_figures
from tunix_exp.stages.resume import found_parent, loaded_facts, read_facts
from tunix_exp.stages.score import evaluated
from tunix_exp.stages.texts.read import Texts, read_texts
from tunix_exp.stages.training import trained_model
from tunix_exp.stages.weights import load, with_end_ids
from tunix_exp.training import resume
from tunix_exp.training.compiles import CompileCount


def run(config: RunConfig, evidence: RunDirectory, stages: Stages, *, baseline: Baseline | None) -> None:
    """The run directory is complete and verified; anything else is an exception.

    `baseline` is the run that this one is measured against.
    """
    if forget_programs_when_many():
        evidence.log.say("compilation cache cleared between jobs: a process can hold only so many programs")
    compiles, objective = CompileCount(), registry.objective(config.objective, tuple(config.data.mix or ()))
    refuse_sampling(objective)
    parent = None
    if config.mode.computes and config.training.resume != "never":
        with stages("resume"):
            parent = found_parent(config, evidence)
    with stages("device"):
        device = checked_device(config, evidence)
        record_hosts(device, evidence)
    with stages("weights"):
        origin = checked_origin(config, evidence)
        check_access(config.model, config.adapter, asks_the_hub=config.mode.computes)
    with stages("data"):
        texts = read_texts(config, objective, evidence)
        if origin is not None and texts is not None:
            check_tokenizer(origin, texts.tokenizer)
        if parent is not None and texts is not None:
            resume.check_same(parent, read_facts(texts.tokenizer.digest, evidence))
    with stages("plan"):
        if config.mode.name == "eval":
            assert texts is not None
            planned = planned_evaluation(config, texts, device, evidence)
        else:
            planned = planned_step(config, objective, texts, device, parent, evidence)
        give_back()
    if config.mode.computes:
        assert texts is not None
        _compute(config, texts, planned, origin, parent, baseline, evidence, stages)
    with stages("report"):
        record_figures(config, compiles, stages, evidence)
        check_outcome(evidence)
    complete(stages, evidence)


def _compute(
    config: RunConfig,
    texts: Texts,
    planned: PlannedStep | PlannedEvaluation,
    origin: Origin | None,
    parent: resume.Parent | None,
    baseline: Baseline | None,
    evidence: RunDirectory,
    stages: Stages,
) -> None:
    """Weights, base, training, trained, comparison, export: as far as the mode goes."""
    evidence.board.hyperparameters(
        read_json_object(evidence.root / layout.CONFIG, file=layout.CONFIG),
        started_at_s=datetime.fromisoformat(evidence.manifest.started_at).timestamp(),
    )
    with stages("weights"):
        loaded = load(config, planned, evidence)
        if origin is not None:
            keep_origin(origin, loaded, evidence)
        if parent is not None:
            resume.check_same(parent, loaded_facts(evidence))
        check_inputs(evidence)
    model = loaded.model
    texts = with_end_ids(texts, loaded, evidence)
    result = base = trained = None
    steps_done, line = 0, () if parent is None else parent.line
    if texts.is_evaluated:
        with stages("base evaluation"):
            base = evaluated("base", model, config, texts, line, evidence)
    if isinstance(planned, PlannedStep):
        with stages("training"):
            model = trained_model(model, config, texts, planned, parent, evidence)
            steps_done = planned.total_steps
        if texts.is_evaluated:
            with stages("trained evaluation"):
                trained = evaluated("trained", model, config, texts, line, evidence)
    if base is not None:
        result = compare(base, trained, baseline, config, texts.form, evidence)
    if config.training.export:
        with stages("export"):
            export(model, loaded, config, texts.tokenizer, evidence)
    evidence.board.finish(result, step=steps_done)
