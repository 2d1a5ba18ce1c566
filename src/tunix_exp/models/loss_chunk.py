"""How many tokens have their logits at a time: as many as hide the traffic of the table, and fit.

For each chunk of K tokens a device reads the table twice in the compute dtype, and reads and writes its
gradient in float32, whatever K is; the products of the two take 6·K·V·D operations (4 where the table is
frozen). Nothing here imports JAX.
"""

import math
from dataclasses import dataclass

# On a CPU at most so many logits exist at a time for each shard of rows, 128 MiB of float32, and of those so
# many words' become gradients at a time: a cache holds them. Of 256,000 words that is 131 tokens, over whose
# arithmetic a CPU's time to read the table, and to add to its gradient, is hidden.
CPU_LOGITS, CPU_WORDS = 2**25, 2**12
# The table's traffic takes this part of the time of the arithmetic at most: its products are several, and
# one of them has most of the traffic.
_PART = 1 / 4
# Logits in float32, and their gradient.
LOGIT_BYTES = 2 * 4


@dataclass(frozen=True, slots=True)
class LossChunk:
    """At most so many tokens of a shard of rows have their logits at a time.

    Of at most so many words they become gradients at a time; `None` where those of all do.
    """

    tokens: int
    words: int | None

    @classmethod
    def of_cpu(cls, vocab_size: int) -> "LossChunk":
        """That of a CPU, whose tokens are the fewest on every device."""
        return cls(max(CPU_LOGITS // vocab_size, 1), CPU_WORDS)


@dataclass(frozen=True, slots=True)
class Choice:
    """A chunk, and in words why it is this one."""

    chunk: LossChunk
    reason: str

    def describe(self) -> str:
        """The choice in a line."""
        return f"loss chunk: {self.chunk.tokens:,} tokens ({self.reason})"

    def to_json(self) -> dict[str, int | str | None]:
        """As `plan.json` has it."""
        return {"tokens": self.chunk.tokens, "words": self.chunk.words, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Table:
    """What one device has of the table behind the logits, and of a chunk's tokens.

    The rows of `sharing` shards meet on it, where it has a part of the vocabulary alone.
    """

    words: int
    width: int
    compute_bytes: int
    is_trained: bool
    sharing: int

    @property
    def bytes_a_chunk(self) -> int:
        """What moves between the device and its memory for each chunk, however large that is."""
        read, gradient = 2 * self.compute_bytes, 2 * 4 if self.is_trained else 0
        return self.words * self.width * (read + gradient)

    @property
    def flops_a_token(self) -> int:
        """The operations of a device for each token of a shard."""
        return (6 if self.is_trained else 4) * self.words * self.width * self.sharing

    @property
    def logit_bytes_a_token(self) -> int:
        """What the logits of one token of a shard take on the device, with their gradient."""
        return LOGIT_BYTES * self.words * self.sharing

    def chunks_traffic(self, tokens: int, chunk: int) -> int:
        """What moves of the table for `tokens` of a shard, `chunk` at a time."""
        return -(-tokens // chunk) * self.bytes_a_chunk


def choose(
    table: Table,
    *,
    vocab_size: int,
    platform: str,
    device_kind: str,
    flops_per_byte: float | None,
    left_bytes: float,
) -> Choice:
    """The chunk of a device that does `flops_per_byte` and has `left_bytes` for what is over the fewest.

    Powers of two, so that a little more or less of memory changes no number of a run.
    """
    fewest = LossChunk.of_cpu(vocab_size)
    least = f"at most {CPU_LOGITS:,} logits"
    if platform == "cpu":
        return Choice(fewest, f"{least}, as on every CPU")
    if flops_per_byte is None:
        reason = f"{least}: no peak and no bandwidth are known of {device_kind}"
        return Choice(LossChunk(fewest.tokens, None), reason)
    hidden = table.bytes_a_chunk / table.flops_a_token * flops_per_byte / _PART
    wanted = max(2 ** math.ceil(math.log2(hidden)), fewest.tokens)
    fitting = fewest.tokens + max(left_bytes, 0) / table.logit_bytes_a_token
    if wanted <= fitting:
        reason = f"the traffic of the table is hidden at {flops_per_byte:.0f} FLOPs a byte"
        return Choice(LossChunk(wanted, None), reason)
    most = max(2 ** math.floor(math.log2(fitting)), fewest.tokens)
    reason = f"as many as fit in what the plan leaves; {wanted:,} would hide the traffic of the table"
    return Choice(LossChunk(most, None), reason)
