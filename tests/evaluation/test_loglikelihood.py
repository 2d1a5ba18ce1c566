import numpy as np
import pytest

from tests.closeness import assert_close, model_roundings
from tests.models.toys import broken_model, toy_config, toy_model
from tunix_exp.errors import NonFinite
from tunix_exp.evaluation.loglikelihood import loglikelihoods

# The toy has 24 positions and 31 ids.
FORWARD = model_roundings(toy_config(), 24)
ROW = [(3 * i) % 31 for i in range(40)]


def scored(pairs, batch_size=64):
    return loglikelihoods(toy_model(), pairs, batch_size=batch_size, on_batch=lambda done: None)


def test_a_continuation_is_as_likely_as_its_tokens_one_after_another():
    whole, *parts = scored([(ROW[:5], ROW[5:8]), *((ROW[:n], ROW[n : n + 1]) for n in (5, 6, 7))])
    assert_close(whole.loglikelihood, sum(one.loglikelihood for one in parts), roundings=FORWARD)
    assert whole.is_greedy == all(one.is_greedy for one in parts)


def test_exactly_one_next_token_is_greedy_and_all_probabilities_add_up():
    found = scored([(ROW[:6], [token]) for token in range(31)])
    assert_close(sum(np.exp(one.loglikelihood) for one in found), 1.0, roundings=FORWARD)
    assert [one.is_greedy for one in found].count(True) == 1
    assert max(found, key=lambda one: one.loglikelihood).is_greedy


def test_what_is_too_long_loses_its_beginning_and_says_so():
    # one by one: equal calls are equal bits
    whole, cut, fits = (scored([(ROW[begin:36], ROW[36:40])])[0] for begin in (0, 15, 16))
    assert (whole.is_cut, cut.is_cut, fits.is_cut) == (True, False, False)
    # 25 tokens: the last is no input
    assert whole.loglikelihood == cut.loglikelihood != fits.loglikelihood


def test_progress_is_told_after_every_batch():
    told = []
    pairs = [(ROW[:n], [1]) for n in range(1, 24)] * 2
    loglikelihoods(toy_model(), pairs, batch_size=16, on_batch=told.append)
    assert told == [16, 32, 46]


@pytest.mark.parametrize(("context", "continuation"), [([], [1]), ([1], []), ([1], ROW[:25])])
def test_a_pair_needs_both_and_a_continuation_that_fits(context, continuation):
    with pytest.raises(ValueError, match="tokens of context"):
        scored([(context, continuation)])


def test_a_likelihood_that_is_no_number_is_refused():
    model = broken_model(float("nan"))
    with pytest.raises(NonFinite, match="log-likelihoods of 1 continuations are NaN or infinite"):
        loglikelihoods(model, [(ROW[:5], ROW[5:8])], batch_size=8, on_batch=lambda done: None)
