"""Training rows and held-out items, read, checked and tokenised, with their data card."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from tunix_exp import references
from tunix_exp.config import RunConfig
from tunix_exp.data.card import SetFacts, data_card, example_text
from tunix_exp.data.counted import told
from tunix_exp.data.overlap import Shared, refuse_shared, shared_questions
from tunix_exp.data.sources import ExampleSet, joined
from tunix_exp.data.statistics import NamesInText
from tunix_exp.data.tokenize import tokenize
from tunix_exp.data.tokenizer import Tokenizer, load_tokenizer, with_chat
from tunix_exp.data.tokens import TokenizedExample
from tunix_exp.errors import UserError
from tunix_exp.evaluation.config import EvalConfig, HarnessEvalConfig, ItemsEvalConfig
from tunix_exp.evaluation.generate import check_prompts
from tunix_exp.evaluation.items import read_held_out, read_rows
from tunix_exp.evidence import sections as records
from tunix_exp.evidence.kinds import data_card as card_kind
from tunix_exp.evidence.kinds import pages
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.numbers import counted
from tunix_exp.objectives.objective import Objective, Source
from tunix_exp.scoring.form import Form, form_of
from tunix_exp.stages.texts.rows import TrainingRows, data_record, renderer_of, training_rows

if TYPE_CHECKING:
    # an extra: it may not be installed
    from tunix_exp.evaluation.harness.tasks import Tasks


class Texts(NamedTuple):
    """Training rows and held-out items as tokens; without such items `items` is empty.

    `tasks` are the harness's, and `stop` the texts that end an answer to an item. `stages` are the steps of
    each.
    """

    tokenizer: Tokenizer
    items: tuple[TokenizedExample, ...]
    tasks: "Tasks | None"
    batches: Source
    stages: tuple[int, ...]
    stop: tuple[str, ...]
    form: Form | None

    @property
    def is_evaluated(self) -> bool:
        """Whether there is anything to score a model on."""
        return bool(self.items) or self.tasks is not None

    @property
    def prompt_lengths(self) -> list[int]:
        """The tokens of each held-out item's prompt."""
        return [item.prompt_length for item in self.items]


class HeldOut(NamedTuple):
    """The source of the held-out items, what it holds, and which training rows have their questions.

    `special_names` counts the names of special tokens in their texts.
    """

    examples: ExampleSet
    items: tuple[TokenizedExample, ...]
    shared: list[Shared]
    stop: tuple[str, ...]
    special_names: NamesInText

    def refuse_shared(self, trained: ExampleSet) -> None:
        """Raise UserError where training rows have questions of the items."""
        refuse_shared(self.shared, trained, self.examples)


def read_texts(config: RunConfig, objective: Objective, evidence: RunDirectory) -> Texts | None:
    """What is trained on and what is scored, and their evidence.

    `None` in a preflight whose tokenizer the Hub does not give: shapes need no text.
    """
    tokenizer = _loaded_tokenizer(config, evidence)
    if tokenizer is None:
        return None
    data = config.data
    read = read_rows(data, config.eval)
    rows = training_rows(read, config, objective, tokenizer)
    held_out = held_out_items(config, read, tokenizer)
    if held_out is not None and not data.allow_eval_overlap:
        held_out.refuse_shared(rows.examples)
    elif held_out is not None and held_out.shared:
        count = counted(len(held_out.shared), "row")
        evidence.log.say(f"held-out questions in the training data: {count} (data.allow_eval_overlap=true)")
    tasks = None
    if isinstance(config.eval, HarnessEvalConfig):
        from tunix_exp.evaluation.harness.stage import prepare

        tasks = prepare(config.eval, data.template, config.model.num_positions, evidence)
    card = data_card(
        data,
        {one.name: SetFacts(one.examples, one.tokenized.statistics, one.steps) for one in rows.sets},
        rows.examples,
        rows.statistics,
        rows.batches.statistics(),
        tokenizer,
        row_tokens=rows.row.tokens,
        eval_name=config.eval.name if held_out else None,
        eval_facts=held_out.examples.facts if held_out else None,
        overlap_count=len(held_out.shared) if held_out else None,
    )
    evidence.write(card_kind.KIND, card)
    shown = [example_text(one.tokenized.kept[0], tokenizer, data.learn) for one in rows.sets]
    evidence.write_text(pages.EXAMPLE.path, "\n".join([*shown, rows.batches.text(0)]))
    for file, lines in rows.batches.lines().items():
        evidence.write(objective.kind(file), lines)
    evidence.update(data=data_record(data, rows))
    if tasks is None:
        evidence.update(eval=_eval_record(config.eval, held_out))
    items, stop = (held_out.items, held_out.stop) if held_out else ((), ())
    fields = rows.examples.facts.fields
    form = form_of(data.template.response, data.template.response_without_reasoning, fields)
    stages = tuple(one.steps for one in rows.sets if one.steps is not None)
    texts = Texts(tokenizer, items, tasks, rows.batches, stages, stop, form)
    _say(texts, rows, held_out, config, evidence)
    return texts


def _loaded_tokenizer(config: RunConfig, evidence: RunDirectory) -> Tokenizer | None:
    try:
        loaded = load_tokenizer(config.model.tokenizer, chat="none")
    except UserError as error:
        may_lack = isinstance(references.parse(config.model.tokenizer, key="model.tokenizer"), references.Hub)
        if config.mode.computes or not may_lack or config.training.steps is None:
            raise
        evidence.log.say(f"data: not checked, the tokenizer is unavailable: {error.what}")
        return None
    return fitted(loaded, config)


def fitted(loaded: Tokenizer, config: RunConfig) -> Tokenizer:
    """The tokenizer with the config's chat template; UserError where the model lacks rows for its ids."""
    template = config.data.template
    tokenizer = with_chat(loaded, chat=template.chat, date=template.date)
    tokenizer.check_fits(config.model.vocab_size)
    return tokenizer


def held_out_items(config: RunConfig, read: Mapping[str, ExampleSet], tokenizer: Tokenizer) -> HeldOut | None:
    """The items to be answered, each prompt with room for its answer; `None` where there are none."""
    if not isinstance(config.eval, ItemsEvalConfig):
        return None
    renderer = renderer_of(config, tokenizer)
    stop = renderer.next_example() if config.eval.stop is None else config.eval.stop
    held_out = read_held_out(config.data, config.eval, read)
    made = tokenize(held_out, renderer, tokenizer, config.model.num_positions, "error", key="eval")
    items = made.kept[:]
    check_prompts(
        [item.tokens_T[: item.prompt_length].tolist() for item in items],
        max_new_tokens=config.eval.max_new_tokens,
        num_positions=config.model.num_positions,
        vocab_size=config.model.vocab_size,
    )
    shared = shared_questions(joined(read), held_out)
    return HeldOut(held_out, items, shared, stop, made.statistics.special_names)


def _eval_record(config: EvalConfig, held_out: HeldOut | None) -> records.NoEval | records.ItemsEval:
    if held_out is None or not isinstance(config, ItemsEvalConfig):
        return records.NoEval(kind="none")
    return records.ItemsEval(
        kind="items",
        name=config.name,
        source=config.source,
        rows=len(held_out.items),
        sha256=held_out.examples.facts.sha256,
        stop=held_out.stop,
    )


def _say(
    texts: Texts,
    rows: TrainingRows,
    held_out: HeldOut | None,
    config: RunConfig,
    evidence: RunDirectory,
) -> None:
    say, learn = evidence.log.say, config.data.learn
    items = f", {len(texts.items)} held-out items"
    named: dict[str, NamesInText] = {}
    for one in rows.sets:
        key, name = (f"data.mix.{one.name}", one.name) if one.name else ("data", config.data.name)
        facts, found = one.examples.facts, one.tokenized.statistics
        is_text = "text" in facts.fields
        say(
            f"{key}: {found.rows_kept} of {facts.rows} rows of {name}{'' if one.name else items}; learnt:"
            f" {f'all of each document, in {found.pieces} pieces' if is_text else learn}"
            f" ({100 * found.supervised_share:.1f} % of the tokens)"
        )
        for line in told(facts, key):
            say(line)
        named[key] = found.special_names
    if len(rows.sets) > 1:
        say(f"data: {rows.statistics.rows_kept} rows of {len(rows.sets)} sets{items}")
    if held_out is not None:
        named["eval"] = held_out.special_names
        for line in told(held_out.examples.facts, "eval"):
            say(line)
    for key, names in named.items():
        if names.rows:
            say(f"{key}: {names.describe()}")
    if rows.row.reason:
        say(f"data.max_tokens is {rows.row.tokens}: {rows.row.reason}")
    if isinstance(config.eval, ItemsEvalConfig):
        say(f"stop texts: {', '.join(map(repr, texts.stop)) or 'none'}")
        room = config.eval.max_new_tokens
        if longer := sum(item.response_length > room for item in texts.items):
            say(f"note: eval.max_new_tokens={room} is too few for the responses of {longer} held-out items")
    batches = texts.batches.statistics()
    for line in (batches.describe(), *batches.describe_sets()):
        say(f"batches: {line}")
