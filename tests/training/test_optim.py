import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.closeness import assert_close
from tests.training.toy import ADAMW, OPTIMIZERS, SFT, SGD, batch, toy
from tunix_exp.models.digest import parameter_count
from tunix_exp.training import optim
from tunix_exp.training.step import make_step

ROUNDINGS = 10  # of a handful of operations one after another


learning_rate = jax.jit(optim.learning_rate, static_argnums=0)
apply = jax.jit(optim.apply, static_argnums=0)


def rate(config, step, total=100):
    s = optim.scalars(config, total_steps=total)
    return float(learning_rate(optim.structure(config), s, jnp.int32(step)))


def scheduled(name, **more):
    return ADAMW.model_copy(
        update={"schedule": name, "peak_lr": 1.0, "warmup_steps": 10, "final_lr_ratio": 0.1, **more}
    )


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "wsd"])
def test_the_warm_up_climbs_linearly_and_ends_at_the_peak(name):
    config = scheduled(name, wsd_decay_fraction=0.2)
    climb = [rate(config, step) for step in range(11)]
    assert_close(climb, (np.arange(1, 12) / 11).tolist(), roundings=ROUNDINGS)


@pytest.mark.parametrize("name", ["linear", "cosine", "wsd"])
def test_a_schedule_ends_at_its_final_ratio(name):
    assert_close(rate(scheduled(name, wsd_decay_fraction=0.2), 100), 0.1, roundings=ROUNDINGS, of=1.0)


def test_a_constant_rate_stays():
    assert_close(rate(scheduled("constant"), 99), 1.0, roundings=ROUNDINGS)


def test_cosine_is_optax_s_cosine():
    ours = [rate(scheduled("cosine"), step) for step in range(10, 101)]
    theirs = jax.jit(optax.cosine_decay_schedule(1.0, 90, alpha=0.1))
    assert_close(ours, [float(theirs(step - 10)) for step in range(10, 101)], roundings=ROUNDINGS, of=1.0)


def test_wsd_is_flat_until_its_decay_and_linear_then():
    config = scheduled("wsd", wsd_decay_fraction=0.2)
    assert_close([rate(config, 79), rate(config, 90)], [1.0, 0.55], roundings=ROUNDINGS)


def test_with_a_schedule_per_stage_each_stage_has_the_whole_of_it():
    config = scheduled("cosine", warmup_steps=2, schedule_per="stage")
    s = optim.scalars(config, total_steps=21, stages=(10, 14))
    rates = [float(learning_rate(optim.structure(config), s, jnp.int32(step))) for step in range(21)]
    alone = scheduled("cosine", warmup_steps=2)
    # the run ends before its last stage does, whose schedule ends with it
    due = [rate(alone, step, total=10) for step in range(10)] + [
        rate(alone, step, total=11) for step in range(11)
    ]
    assert_close(rates, due, roundings=ROUNDINGS, of=1.0)


def test_adamw_equals_optax_adamw_with_the_same_mask():
    # of which 1 - b is exact: ours rounds b to float32 before it is formed, optax after
    b1, b2 = 1 - 2**-3, 1 - 2**-10
    config = ADAMW.model_copy(update={"b1": b1, "b2": b2})
    _, state = toy(config)
    structure, s = optim.structure(config), optim.scalars(config, total_steps=10)
    grads = jax.tree.map(lambda p: jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), state.params)
    mask = optim.decay_mask(structure, state.params)
    reference = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(1e-2, b1=b1, b2=b2, eps=1e-8, weight_decay=0.01, mask=mask),
    )
    expected, their_state = state.params, jax.jit(reference.init)(state.params)

    @jax.jit
    def theirs(grads, state, params):
        updates, state = reference.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params, opt_state = state.params, state.opt_state
    for step in range(3):
        expected, their_state = theirs(grads, their_state, expected)
        params, opt_state, _ = apply(structure, s, jnp.int32(step), grads, opt_state, params)
    assert_close(params, expected, roundings=3 * ROUNDINGS)


@pytest.mark.parametrize("config", OPTIMIZERS, ids=lambda c: c.name)
def test_every_optimizer_lowers_the_loss_of_one_batch(config):
    config = config.model_copy(update={"peak_lr": 3e-3})
    graphdef, state = toy(config)
    step, s = make_step(graphdef, optim.structure(config), SFT.loss), optim.scalars(config, total_steps=30)
    losses = []
    for _ in range(30):
        state, metrics = step(state, batch(0), s)
        losses.append(float(metrics.loss))
    assert losses[-1] < losses[0] - 0.1


def test_norms_and_biases_do_not_decay_unless_all_do():
    _, state = toy()
    named = {
        jax.tree_util.keystr(path): decays
        for path, decays in jax.tree_util.tree_leaves_with_path(
            optim.decay_mask(optim.structure(ADAMW), state.params)
        )
    }
    assert {decays for name, decays in named.items() if "norm" in name or "bias" in name} == {False}
    assert {decays for name, decays in named.items() if "kernel" in name or "embedding" in name} == {True}
    every = optim.structure(ADAMW.model_copy(update={"decay_mask": "all"}))
    assert all(jax.tree.leaves(optim.decay_mask(every, state.params)))


def test_the_state_keeps_its_type_and_the_parameters_theirs():
    _, state = toy()
    structure = optim.structure(ADAMW)
    half = optim.init(structure, state.params, "bfloat16")
    grads = jax.tree.map(jnp.ones_like, state.params)
    s = optim.scalars(ADAMW, total_steps=9)
    params, new, _ = apply(structure, s, jnp.int32(0), grads, half, state.params)
    assert {x.dtype for x in jax.tree.leaves(new)} == {jnp.dtype("bfloat16"), jnp.dtype("int32")}
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_structures_that_differ_in_scalars_alone_are_equal():
    other = ADAMW.model_copy(update={"peak_lr": 5e-5, "weight_decay": 0.3, "b1": 0.5, "clip_norm": 9.0})
    assert optim.structure(other) == optim.structure(ADAMW)
    assert optim.structure(ADAMW.model_copy(update={"clip_norm": None})) != optim.structure(ADAMW)
    assert optim.structure(SGD) != optim.structure(ADAMW)


def test_clipping_bounds_the_update_by_the_global_norm():
    config = SGD.model_copy(update={"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "peak_lr": 1.0})
    _, state = toy(config)
    grads = jax.tree.map(lambda p: 10 * jnp.ones_like(p), state.params)
    structure, s = optim.structure(config), optim.scalars(config, total_steps=9)
    params, _, update = apply(structure, s, jnp.int32(0), grads, state.opt_state, state.params)
    moved = optax.tree.norm(jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), state.params, params))
    count = sum(leaf.size for leaf in jax.tree.leaves(grads))
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(state.params))
    # each parameter is rounded to its own size as the update is added
    assert_close(float(moved), 1.0, roundings=count, of=max(1.0, largest * count**0.5))
    assert_close(float(update.grad_norm), float(optax.tree.norm(grads)), roundings=count)


def layers(draw, count=9):
    """Parameters, or gradients, of single layers, more than a factored axis must have, and of what is
    outside them.
    """
    single = {"attention": {"kernel": (16, 24), "bias": (24,)}, "norm": {"scale": (16,)}}
    outside = {"token_embedding": {"embedding": (31, 16)}, "final_norm": {"scale": (16,)}}
    shapes = {**outside, "blocks": dict.fromkeys(range(count), single)}
    return jax.tree.map(
        lambda shape: jnp.asarray(draw.normal(size=shape), jnp.float32),
        shapes,
        is_leaf=lambda shape: isinstance(shape, tuple),
    )


def stacked(tree):
    return {**tree, "blocks": jax.tree.map(lambda *leaves: np.stack(leaves), *tree["blocks"].values())}


def updated(rule, params, gradients):
    """The parameters after an update by each of the gradients."""
    s, structure = optim.scalars(rule, total_steps=10), optim.structure(rule)
    opt_state = optim.init(structure, params, "float32")
    for step, grads in enumerate(gradients):
        params, opt_state, _ = apply(structure, s, jnp.int32(step), grads, opt_state, params)
    return params


@pytest.mark.parametrize(("clipping", "mask"), [(None, "matrices"), (0.5, "all")])
@pytest.mark.parametrize("rule", OPTIMIZERS, ids=lambda rule: rule.name)
def test_stacked_layers_are_updated_as_single_ones_are(rule, clipping, mask):
    changes = {"clip_norm": clipping, "decay_mask": mask, "weight_decay": 0.1}
    if rule.name == "adafactor":
        changes["clipping_threshold"] = clipping
    rule = rule.model_copy(update=changes)
    count = 9 if rule.name == "adafactor" else 3
    params, *gradients = (layers(np.random.default_rng(seed), count) for seed in range(4))
    unrolled = updated(rule, params, gradients)
    scanned = updated(rule, stacked(params), map(stacked, gradients))
    # the sums of clipping by the norm are of all parameters, in another order
    count = parameter_count(unrolled)
    assert_close(scanned, stacked(unrolled), roundings=3 * ROUNDINGS + (clipping is not None) * count)


def moved(rounding_key, *, updates=400):
    """The mean of a thousand ones in bfloat16 after so many updates by 2⁻¹²; below one they are 2⁻⁸ apart."""
    rule = SGD.model_copy(
        update={
            "momentum": 0.0,
            "nesterov": False,
            "weight_decay": 0.0,
            "peak_lr": 2.0**-12,
            "clip_norm": None,
        }
    )
    s, structure = optim.scalars(rule, total_steps=10), optim.structure(rule)
    params = {"blocks": {"kernel": jnp.ones((2, 500), jnp.bfloat16)}}
    state = optim.init(structure, params, "float32")
    grads = jax.tree.map(jnp.ones_like, params)
    for step in range(updates):
        key = None if rounding_key is None else jax.random.fold_in(rounding_key, step)
        params, state, _ = apply(structure, s, jnp.int32(step), grads, state, params, rounding_key=key)
    return float(jnp.mean(params["blocks"]["kernel"].astype(jnp.float32)))


def test_updates_too_small_for_bfloat16_are_lost_to_the_nearest_and_kept_by_chance():
    assert moved(None) == 1.0
    due = 400 * 2.0**-12
    # each update of a number varies by less than half of the 2⁻⁸ between its neighbours
    spread = (400 / 1000) ** 0.5 * 2.0**-9
    assert abs(1.0 - moved(jax.random.key(3)) - due) < 4 * spread


def test_chance_rounds_between_neighbours_and_leaves_what_needs_no_rounding():
    exact = jnp.float32([1.0, -2.5, 0.0, jnp.inf, -jnp.inf])
    between = jnp.float32([1 + 2.0**-9, -1 - 2.0**-9, 3e38])
    by_chance = jax.jit(lambda key, values: optim._by_chance(key, values).astype(jnp.float32))
    for seed in range(20):
        key = jax.random.key(seed)
        assert by_chance(key, exact).tolist() == exact.tolist()
        low, high, large = by_chance(key, between).tolist()
        assert low in (1.0, 1 + 2.0**-7)
        assert high in (-1.0, -1 - 2.0**-7)
        assert abs(large / 3e38 - 1) < 2.0**-7
    assert jnp.isnan(by_chance(jax.random.key(0), jnp.float32([jnp.nan]))).all()


def test_chance_depends_on_no_layer_loop_and_differs_from_place_to_place():
    params, gradients = (layers(np.random.default_rng(seed), 2) for seed in (0, 1))
    half = jax.tree.map(lambda p: np.asarray(p).astype(jnp.bfloat16), params)
    structure, s = optim.structure(ADAMW), optim.scalars(ADAMW, total_steps=10)

    def after(params, grads):
        state = optim.init(structure, params, "bfloat16")
        return apply(structure, s, jnp.int32(0), grads, state, params, rounding_key=jax.random.key(5))[:2]

    single, single_state = after(half, gradients)
    scanned, scanned_state = after(stacked(half), stacked(gradients))
    same = jax.tree.map(
        lambda one, other: float(np.mean(np.asarray(one) == np.asarray(other))),
        (scanned, scanned_state.mu, scanned_state.nu),
        (stacked(single), stacked(single_state.mu), stacked(single_state.nu)),
    )
    # the gradient's norm is another sum, so that a few numbers lie on the other side of a draw
    assert min(jax.tree.leaves(same)) > 0.98
    kernels = [
        optim._rounded({"blocks": {n: {"kernel": jnp.full(200, 1 + 2.0**-9)}}}, key=jax.random.key(1),
                       like={"blocks": {n: {"kernel": jnp.ones(200, jnp.bfloat16)}}})
        for n in range(2)
    ]  # fmt: skip
    one, other = (jax.tree.leaves(kernel)[0] for kernel in kernels)
    assert (one != other).any()
