"""How many tokens have their logits at a time, by the figures of a device."""

import pytest

from tunix_exp.models.loss_chunk import CPU_LOGITS, CPU_WORDS, LossChunk, Table, choose

GEMMA = Table(words=256_000, width=2048, compute_bytes=2, is_trained=True, sharing=1)
H200 = 989e12 / 4800e9  # operations a byte


def chosen(table=GEMMA, platform="gpu", flops_per_byte=H200, left_bytes=2**40, vocab_size=256_000):
    return choose(
        table,
        vocab_size=vocab_size,
        platform=platform,
        device_kind="A card",
        flops_per_byte=flops_per_byte,
        left_bytes=left_bytes,
    )


def test_a_cpu_has_the_same_chunk_whatever_its_memory():
    for left_bytes in (0, 2**40):
        choice = chosen(platform="cpu", flops_per_byte=None, left_bytes=left_bytes)
        assert choice.chunk == LossChunk(CPU_LOGITS // 256_000, CPU_WORDS)
        assert choice.describe() == "loss chunk: 131 tokens (at most 33,554,432 logits, as on every CPU)"


@pytest.mark.parametrize("is_trained", [True, False])
@pytest.mark.parametrize("flops_per_byte", [50, H200, 560])
@pytest.mark.parametrize("sharing", [1, 8])
def test_the_traffic_of_the_table_takes_a_quarter_of_the_time_of_the_arithmetic_and_no_chunk_is_larger_for_it(
    is_trained, flops_per_byte, sharing
):
    table = Table(
        words=256_000 // sharing, width=2048, compute_bytes=2, is_trained=is_trained, sharing=sharing
    )
    chunk = chosen(table, flops_per_byte=flops_per_byte).chunk
    assert chunk.words is None

    def part(tokens):
        return table.bytes_a_chunk * flops_per_byte / (tokens * table.flops_a_token)

    assert part(chunk.tokens) <= 1 / 4
    assert chunk.tokens == LossChunk.of_cpu(256_000).tokens or part(chunk.tokens / 2) > 1 / 4


def test_it_is_no_larger_than_what_the_plan_leaves_and_says_so():
    for left_bytes, tokens in ((2**40, 2048), (2**31, 1024), (2**29, 256), (0, 131), (-(2**30), 131)):
        choice = chosen(left_bytes=left_bytes)
        assert choice.chunk.tokens == tokens
        assert (tokens - 131) * GEMMA.logit_bytes_a_token <= max(left_bytes, 0)
        assert ("fit in what the plan leaves; 2,048 would hide" in choice.reason) == (tokens < 2048)


def test_of_a_device_without_figures_nothing_is_claimed():
    choice = chosen(flops_per_byte=None)
    assert choice.chunk == LossChunk(131, None)
    assert choice.reason == "at most 33,554,432 logits: no peak and no bandwidth are known of A card"


def test_what_moves_of_the_table_is_that_of_whole_chunks():
    # Two reads in bfloat16, and in float32 a read and a write of the gradient.
    assert GEMMA.bytes_a_chunk == 256_000 * 2048 * (2 * 2 + 2 * 4)
    assert GEMMA.chunks_traffic(8192, 131) == 63 * GEMMA.bytes_a_chunk
    assert GEMMA.chunks_traffic(8192, 2048) == 4 * GEMMA.bytes_a_chunk
