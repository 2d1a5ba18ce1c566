"""What one model makes of the held-out items, scored."""

from tunix_exp.config import RunConfig
from tunix_exp.evaluation.config import ItemsEvalConfig
from tunix_exp.evaluation.evaluate import evaluate
from tunix_exp.evidence.kinds import item_losses, predictions
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.models import lora
from tunix_exp.models.architecture import LanguageModel
from tunix_exp.scoring.harness import Outcome
from tunix_exp.scoring.paired import Evaluation
from tunix_exp.stages.texts import Texts


def evaluated(
    which: str, model: LanguageModel, config: RunConfig, texts: Texts, evidence: RunDirectory
) -> Evaluation | Outcome:
    """The answers of `model` and the loss on every item, or what it makes of the harness's tasks."""
    model = lora.for_evaluation(model, config.adapter)
    if texts.tasks is not None:
        from tunix_exp.evaluation.harness.stage import ask

        return ask(which, model, texts.tasks, texts.tokenizer, evidence)
    assert isinstance(config.eval, ItemsEvalConfig)
    with evidence.log.progress(len(texts.items), f"{which} answers") as bar:
        answered = 0

        def advance(done: int) -> None:
            nonlocal answered
            bar.advance(done - answered)
            answered = done

        result = evaluate(model, texts.items, texts.tokenizer, config.eval, stop=texts.stop, on_batch=advance)
    is_base = which == "base"
    evidence.write(predictions.BASE if is_base else predictions.TRAINED, result.predictions)
    evidence.write(item_losses.BASE if is_base else item_losses.TRAINED, result.losses)
    return result
