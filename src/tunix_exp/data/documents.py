"""Plain text for continued pre-training: every token of a document is learnt."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tunix_exp.data.encode import Encoded
from tunix_exp.data.example import Example
from tunix_exp.data.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class DocumentEncoder:
    """Encodes documents: what begins a text, or else what ends one, then the document, then its end."""

    tokenizer: Tokenizer

    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        """The ids of each document, all but the first of them its answer."""
        tokenizer, specials = self.tokenizer, self.tokenizer.specials
        texts = [example.answer for example in examples]
        is_named = [specials.is_in([text]) for text in texts]
        plain = iter(
            tokenizer.encode_all([text for text, is_ in zip(texts, is_named, strict=True) if not is_])
        )
        start = tokenizer.bos_ids or (tokenizer.eos_id,)
        found: list[Encoded] = []
        for text, is_ in zip(texts, is_named, strict=True):
            content = specials.encode(specials.as_text(text)) if is_ else next(plain)
            ids = [*start, *content, tokenizer.eos_id]
            found.append(
                Encoded(ids, ((len(start), len(ids)),), specials.count([text]) if is_ else Counter())
            )
        return found


def pieces(encoded: Encoded, most: int) -> Iterator[tuple[list[int], int]]:
    """The document in pieces of at most `most` tokens, and how many of each are read only.

    A piece begins with the last token of the one before, so that each token of the document is learnt once.
    """
    ids, read_only = encoded.ids, encoded.answers[0][0]
    yield ids[:most], read_only
    for start in range(most - 1, len(ids) - 1, most - 1):
        yield ids[start : start + most], 1
