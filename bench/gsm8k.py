"""GSM8K as text, for every side of W6, and the rate of a whole epoch from some of its batches.

Imports the standard library alone, as peers run it in their own environments. The words around question and
answer are those of conf/data/gsm8k.yaml.
"""

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any, NamedTuple

SEED = 1234
BATCH = 8
MAX_TOKENS = 512
WARM = 1


class Pair(NamedTuple):
    """What is read, and what is learned."""

    prompt: str
    completion: str


class Tally(NamedTuple):
    """What batches held: examples, tokens of theirs, and tokens that were computed, padding included."""

    examples: int
    tokens: int
    computed: int


def arguments(doc: str | None, *, timed: int) -> argparse.ArgumentParser:
    """The words that every side of W6 takes."""
    words = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--gsm8k", type=Path, required=True, help="train.jsonl")
    words.add_argument("--tokenizer", type=Path, required=True, help="folder of GPT-2's tokenizer")
    words.add_argument("--timed", type=int, default=timed, help="timed steps")
    return words


def pairs(path: Path) -> list[Pair]:
    """Every row of the file as text, calculator marks taken out, in an order that a seed drew."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    random.Random(SEED).shuffle(rows)
    return [_pair(row) for row in rows]


def _pair(row: dict[str, str]) -> Pair:
    reasoning, _, answer = re.sub(r"<<[^>]*>>", "", row["answer"]).partition("####")
    return Pair(f"{row['question']}\n", f"{reasoning.strip()}\nAnswer: {answer.strip()}")


def together(tallies: list[Tally]) -> Tally:
    """The sum of them."""
    return Tally(*map(sum, zip(*tallies, strict=True)))


def rates(timed: list[Tally], seconds: float, epoch: Tally) -> dict[str, Any]:
    """The fields that W6's line has beside the others: an epoch takes the seconds of the timed batches, by as
    much more as it computes more tokens.
    """
    epoch_s = seconds * epoch.computed / together(timed).computed
    return {
        "examples_per_s": round(epoch.examples / epoch_s, 4),
        "tokens_per_s": round(epoch.tokens / epoch_s, 2),
        "epoch_s": round(epoch_s, 1),
        "padding": round(1 - epoch.tokens / epoch.computed, 4),
    }
