"""Base against trained, and against an earlier run."""

from tunix_exp.config import RunConfig
from tunix_exp.evaluation.config import HarnessEvalConfig, ItemsEvalConfig
from tunix_exp.evidence import sections as records
from tunix_exp.evidence.kinds import eval_summary as kind_of_summary
from tunix_exp.evidence.kinds import predictions
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.summary import Baseline, eval_summary, headline
from tunix_exp.report.result import sample_table, sentences, table
from tunix_exp.report.table import as_text
from tunix_exp.scoring.form import Form
from tunix_exp.scoring.harness import Outcome
from tunix_exp.scoring.paired import Evaluation

_SAMPLE_ROWS = 20


def compare(
    base: Evaluation | Outcome,
    trained: Evaluation | Outcome | None,
    baseline: Baseline | None,
    config: RunConfig,
    form: Form | None,
    evidence: RunDirectory,
) -> records.Headline:
    """The result in one line, and how sure it is: paired statistics over the same items."""
    if isinstance(base, Evaluation):
        assert not isinstance(trained, Outcome)
        return _compared(base, trained, baseline, config, form, evidence)
    from tunix_exp.evaluation.harness import stage

    assert isinstance(config.eval, HarnessEvalConfig)
    assert not isinstance(trained, Evaluation)
    summary, result = stage.compare(
        base, trained, resamples=config.eval.resamples, seed=config.seed, evidence=evidence
    )
    evidence.log.say(as_text(table(summary), sentences(summary)))
    return result


def _compared(
    base: Evaluation,
    trained: Evaluation | None,
    baseline: Baseline | None,
    config: RunConfig,
    form: Form | None,
    evidence: RunDirectory,
) -> records.Headline:
    assert isinstance(config.eval, ItemsEvalConfig)
    summary = eval_summary(
        base, trained, resamples=config.eval.resamples, seed=config.seed, form=form, baseline=baseline
    )
    result = headline(summary)
    evidence.write(kind_of_summary.KIND, summary)
    evidence.update(headline=result)
    if baseline is not None:
        evidence.write(predictions.BASELINE, baseline.predictions)
        evidence.update(verdict=summary["baseline"]["verdict"])
    evidence.board.text(
        "predictions",
        sample_table(base.predictions, None if trained is None else trained.predictions, rows=_SAMPLE_ROWS),
        step=0,
    )
    evidence.log.say(as_text(table(summary), sentences(summary)))
    return result
