"""Training rows and held-out items, read, checked and tokenised, with their data card."""

from typing import TYPE_CHECKING, NamedTuple

from tunix_exp import references
from tunix_exp.config import RunConfig
from tunix_exp.data.card import data_card, example_text
from tunix_exp.data.counted import told
from tunix_exp.data.limit import Limit, limit, most_tokens
from tunix_exp.data.overlap import Shared, refuse_shared, shared_questions
from tunix_exp.data.render import Renderer
from tunix_exp.data.sources import ExampleSet
from tunix_exp.data.tokenize import NamesInText, Tokenized, tokenize
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
from tunix_exp.objectives.objective import Material, Objective, Source
from tunix_exp.scoring.form import Form, form_of

if TYPE_CHECKING:
    # an extra: it may not be installed
    from tunix_exp.evaluation.harness.tasks import Tasks


class Texts(NamedTuple):
    """Training rows and held-out items as tokens; without such items `items` is empty.

    `tasks` are the harness's, and `stop` the texts that end an answer to an item.
    """

    tokenizer: Tokenizer
    rows: Tokenized
    items: tuple[TokenizedExample, ...]
    tasks: "Tasks | None"
    batches: Source
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


class TrainingRows(NamedTuple):
    """The source of the training rows, these as tokens, the most tokens of a row, and their batches."""

    examples: ExampleSet
    tokenized: Tokenized
    row: Limit
    batches: Source


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
    examples = read_rows(data, config.eval)
    _, rows, row, batches = training_rows(examples, config, objective, tokenizer)
    held_out = held_out_items(config, examples, tokenizer)
    if held_out is not None and not data.allow_eval_overlap:
        held_out.refuse_shared(examples)
    tasks = None
    if isinstance(config.eval, HarnessEvalConfig):
        from tunix_exp.evaluation.harness.stage import prepare

        tasks = prepare(config.eval, data.template, config.model.num_positions, evidence)
    card = data_card(
        data,
        examples.facts,
        examples,
        rows.statistics,
        batches.statistics(),
        tokenizer,
        row_tokens=row.tokens,
        eval_name=config.eval.name if held_out else None,
        eval_facts=held_out.examples.facts if held_out else None,
        overlap_count=len(held_out.shared) if held_out else None,
    )
    evidence.write(card_kind.KIND, card)
    example = f"{example_text(rows.kept[0], tokenizer, data.learn)}\n{batches.text(0)}"
    evidence.write_text(pages.EXAMPLE.path, example)
    for file, lines in batches.lines().items():
        evidence.write(objective.kind(file), lines)
    evidence.update(
        data=records.Data(
            name=data.name, source=data.source, rows=rows.statistics.rows_kept, sha256=examples.facts.sha256
        ),
    )
    if tasks is None:
        evidence.update(eval=_eval_record(config.eval, held_out))
    items, stop = (held_out.items, held_out.stop) if held_out else ((), ())
    form = form_of(data.template.response, data.template.response_without_reasoning, examples.facts.fields)
    texts = Texts(tokenizer, rows, items, tasks, batches, stop, form)
    _say(texts, examples, held_out, row, config, evidence)
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


def training_rows(
    examples: ExampleSet, config: RunConfig, objective: Objective, tokenizer: Tokenizer
) -> TrainingRows:
    """The examples as the model sees them; raises UserError for those that it cannot see."""
    data, training, renderer = config.data, config.training, _renderer(config, tokenizer)
    positions, widths = config.model.num_positions, training.bucket_widths
    most = most_tokens(data.max_tokens, positions=positions, bucket_widths=widths)
    rows = tokenize(examples, renderer, tokenizer, most, data.too_long, positions=positions, learn=data.learn)
    row = limit(data.max_tokens, most=most, longest=rows.statistics.total_tokens.max)
    material = Material(
        examples,
        rows,
        tokenizer,
        seed=config.seed,
        batch_size=training.batch_size,
        max_tokens=row.tokens,
        batching=training.batching,
        bucket_widths=widths,
    )
    return TrainingRows(examples, rows, row, objective.source(material))


def _renderer(config: RunConfig, tokenizer: Tokenizer) -> Renderer:
    return Renderer(config.data.template, own=tokenizer.own_chat)


def held_out_items(config: RunConfig, trained: ExampleSet, tokenizer: Tokenizer) -> HeldOut | None:
    """The items to be answered, each prompt with room for its answer; `None` where there are none."""
    if not isinstance(config.eval, ItemsEvalConfig):
        return None
    renderer = _renderer(config, tokenizer)
    stop = renderer.next_example() if config.eval.stop is None else config.eval.stop
    held_out = read_held_out(config.data, config.eval, trained)
    made = tokenize(held_out, renderer, tokenizer, config.model.num_positions, "error", key="eval")
    items = made.kept[:]
    check_prompts(
        [item.tokens_T[: item.prompt_length].tolist() for item in items],
        max_new_tokens=config.eval.max_new_tokens,
        num_positions=config.model.num_positions,
        vocab_size=config.model.vocab_size,
    )
    return HeldOut(held_out, items, shared_questions(trained, held_out), stop, made.statistics.special_names)


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
    examples: ExampleSet,
    held_out: HeldOut | None,
    row: Limit,
    config: RunConfig,
    evidence: RunDirectory,
) -> None:
    say, facts = evidence.log.say, examples.facts
    found = texts.rows.statistics
    is_text = "text" in facts.fields
    say(
        f"data: {found.rows_kept} of {facts.rows} rows of {config.data.name},"
        f" {len(texts.items)} held-out items; learnt:"
        f" {f'all of each document, in {found.pieces} pieces' if is_text else config.data.learn}"
        f" ({100 * found.supervised_share:.1f} % of the tokens)"
    )
    for line in (*told(facts, "data"), *(told(held_out.examples.facts, "eval") if held_out else ())):
        say(line)
    named = {"data": texts.rows.statistics.special_names}
    named |= {"eval": held_out.special_names} if held_out else {}
    for key, names in named.items():
        if names.rows:
            say(f"{key}: {names.describe()}")
    if row.reason:
        say(f"data.max_tokens is {row.tokens}: {row.reason}")
    if isinstance(config.eval, ItemsEvalConfig):
        say(f"stop texts: {', '.join(map(repr, texts.stop)) or 'none'}")
        room = config.eval.max_new_tokens
        if longer := sum(item.response_length > room for item in texts.items):
            say(f"note: eval.max_new_tokens={room} is too few for the responses of {longer} held-out items")
    say(f"batches: {texts.batches.statistics().describe()}")
