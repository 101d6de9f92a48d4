"""Bad input: each one clear error. Good but unusual input: none."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import optim

FACTORIES = [
    optim.sgd,
    optim.momentum,
    optim.nesterov,
    optim.rmsprop,
    optim.adagrad,
    optim.adadelta,
    optim.adam,
    optim.adamw,
    optim.nadam,
    optim.amsgrad,
    optim.lion,
    optim.lamb,
    optim.muon,
]
PENALTIES = [optim.l1, optim.l2, optim.elastic_net, optim.group_lasso]
every_factory = pytest.mark.parametrize("factory", FACTORIES, ids=lambda f: f.__name__)


@every_factory
@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), jnp.float32(-1.0), -1])
def test_a_rate_out_of_range_is_refused(factory, rate):
    with pytest.raises(ValueError, match="learning_rate must be finite and at least 0, got"):
        factory(rate)


@every_factory
@pytest.mark.parametrize("rate", ["0.1", None, True, 1j, [0.1]])
def test_a_rate_that_is_no_number_is_refused(factory, rate):
    with pytest.raises(TypeError, match="learning_rate must be a number or a schedule, got"):
        factory(rate)


@every_factory
@pytest.mark.parametrize("params", [np.ones(2), [jnp.ones(2)], iter([1.0]), {"a": 1.0}.values()])
def test_parameters_in_the_place_of_the_rate_are_refused(factory, params):
    name = factory.__name__
    message = rf"^{name} is given .* as learning_rate: write optim\.{name}\("
    with pytest.raises(TypeError, match=message):
        factory(params)
    with pytest.raises(
        TypeError, match=message + r"0\.1\); optimizer\.init\(params\) takes the arr"
    ):
        factory(params, 0.1)


def rated(factory):
    """The factory at a learning rate, an optimizer's first argument."""
    return functools.partial(factory, 0.1)


def number(build, name):
    """A row: what is built, and one of its arguments, which is to be refused."""
    return pytest.param(build, name, id=f"{getattr(build, 'func', build).__name__}-{name}")


BELOW_ONE = [
    number(rated(optim.momentum), "momentum"),
    number(rated(optim.nesterov), "momentum"),
    number(rated(optim.rmsprop), "decay"),
    number(rated(optim.rmsprop), "momentum"),
    number(rated(optim.adadelta), "rho"),
    *(
        number(rated(factory), name)
        for factory in (optim.adam, optim.adamw, optim.nadam, optim.amsgrad, optim.lion, optim.lamb)
        for name in ("b1", "b2")
    ),
    *(number(rated(optim.muon), name) for name in ("beta", "adam_b1", "adam_b2")),
    number(optim.ema_of_weights, "decay"),
    number(optim.reduce_on_plateau, "factor"),
    number(optim.decay_weights, "weight_decay"),
    number(functools.partial(optim.annealed_momentum, 10), "max_value"),
]

NOT_NEGATIVE = [
    *(number(rated(optim.rmsprop), name) for name in ("eps", "initial_scale")),
    *(number(rated(optim.adagrad), name) for name in ("eps", "initial_accumulator_value")),
    number(rated(optim.adadelta), "eps"),
    *(
        number(rated(factory), name)
        for factory in (optim.adam, optim.adamw, optim.nadam, optim.amsgrad, optim.lamb)
        for name in ("eps", "eps_root")
    ),
    *(number(rated(factory), "weight_decay") for factory in (optim.adamw, optim.lion, optim.lamb)),
    *(number(rated(optim.muon), name) for name in ("eps", "weight_decay", "adam_weight_decay")),
    number(optim.clip, "max_delta"),
    number(optim.clip_by_global_norm, "max_norm"),
    number(optim.clip_by_block_rms, "threshold"),
    number(optim.max_norm, "max_value"),
    number(optim.sam, "rho"),
    *(number(optim.reduce_on_plateau, name) for name in ("rtol", "atol", "min_scale")),
    *(number(penalty, "strength") for penalty in PENALTIES),
    number(optim.constant, "value"),
    number(functools.partial(optim.step_decay, transition_steps=3, decay_rate=0.1), "init_value"),
    number(functools.partial(optim.step_decay, 0.1, 3), "decay_rate"),
    number(functools.partial(optim.piecewise_constant, boundaries_and_scales={}), "init_value"),
    *(number(rated(schedule), "decay") for schedule in (optim.exponential, optim.inverse_time)),
    number(rated(optim.diminishing), "power"),
    number(functools.partial(optim.linear, end_value=0.0, transition_steps=3), "init_value"),
    number(functools.partial(optim.linear, 0.1, transition_steps=3), "end_value"),
    number(functools.partial(optim.polynomial, 0.1, 0.0, transition_steps=3), "power"),
    number(functools.partial(optim.cosine, 0.1, 3), "alpha"),
    number(functools.partial(optim.warmup, optim.constant(0.1), 3), "init_value"),
    number(functools.partial(optim.warmup_cosine, decay_steps=3), "peak_value"),
    number(functools.partial(optim.warmup_cosine, 0.1, 3), "end_value"),
    number(functools.partial(optim.one_cycle, 3), "peak_value"),
    number(functools.partial(optim.cyclic, peak_value=0.1, half_cycle=3), "base_value"),
    number(functools.partial(optim.cyclic, 0.0, 0.1, 3), "shrink"),
]

WHOLE = [
    number(rated(optim.muon), "ns_steps"),
    number(functools.partial(optim.accumulate, optim.sgd(0.1)), "every"),
    number(functools.partial(optim.swa, 0), "every"),
    number(optim.lookahead, "sync_period"),
    number(optim.reduce_on_plateau, "patience"),
    number(functools.partial(optim.l1, 0.1), "examples"),
    number(functools.partial(optim.l2, 0.1), "examples"),
    number(functools.partial(optim.step_decay, 0.1, decay_rate=0.1), "transition_steps"),
    number(functools.partial(optim.linear, 0.1, 0.0), "transition_steps"),
    number(functools.partial(optim.cosine, 0.1), "decay_steps"),
    number(functools.partial(optim.warmup_cosine, 0.1), "decay_steps"),
    number(functools.partial(optim.one_cycle, peak_value=0.1), "transition_steps"),
    number(functools.partial(optim.cyclic, 0.0, 0.1), "half_cycle"),
    number(functools.partial(optim.restarts, optim.constant(0.1)), "period"),
    number(optim.annealed_momentum, "transition_steps"),
]


@pytest.mark.parametrize(("build", "name"), BELOW_ONE)
@pytest.mark.parametrize("value", [1.0, 1, -0.1, float("nan"), jnp.asarray(0.999, jnp.bfloat16)])
def test_a_share_outside_zero_to_one_is_refused(build, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be in \[0, 1\), got"):
        build(**{name: value})


@pytest.mark.parametrize(("build", "name"), NOT_NEGATIVE)
def test_a_negative_number_is_refused(build, name):
    with pytest.raises(ValueError, match=f"^{name} must be finite and at least 0, got -1e-09"):
        build(**{name: -1e-9})
    with pytest.raises(TypeError, match=f"^{name} must be a number, got 'small'"):
        build(**{name: "small"})


@pytest.mark.parametrize(("build", "name"), WHOLE)
def test_what_counts_is_a_whole_number_from_one_on(build, name):
    with pytest.raises(ValueError, match=f"^{name} must be at least 1, got 0"):
        build(**{name: 0})
    with pytest.raises(
        TypeError, match=rf"takes an integer( or None)? as {name}, got 10\.0: write .*{name}=10\b"
    ):
        build(**{name: 10.0})


@pytest.mark.parametrize(("build", "name"), WHOLE)
def test_a_count_that_nothing_reaches_is_refused(build, name):
    with pytest.raises(ValueError, match=rf"^{name} must be at most (\d+), got 1000000000000000"):
        build(**{name: 10**400})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: optim.momentum(0.1, form="heavy"), r"form is 'heavy', but must be one of"),
        (lambda: optim.rmsprop(0.1, nesterov=True), r"write momentum=0\.9, nesterov=True"),
        (lambda: optim.lookahead(5, 0), "slow_step_size must be finite and above 0, got 0"),
        (lambda: optim.swa(-1), "start must be at least 0, got -1"),
        (lambda: optim.reduce_on_plateau(cooldown=-1), "cooldown must be at least 0, got -1"),
        (lambda: optim.one_cycle(10, 0.1, 1.5), r"pct_start must be in \[0, 1\], got 1.5"),
        (lambda: optim.elastic_net(0.1, l1_ratio=1.5), r"l1_ratio must be in \[0, 1\], got 1.5"),
        (lambda: optim.one_cycle(10, 0.1, div_factor=0), "div_factor must be finite and above 0"),
        (lambda: optim.linear(1.0, 0.0, 3, -1), "transition_begin must be at least 0, got -1"),
        (lambda: optim.warmup(optim.constant(0.1), -1), "warmup_steps must be at least 0, got -1"),
        (lambda: optim.warmup_cosine(0.1, 10, warmup_steps=10), "wanted warmup_steps < decay_step"),
        (lambda: optim.warmup_cosine(0.1, 10, warmup_steps=-1), "warmup_steps must be at least 0"),
        (lambda: optim.piecewise_constant(0.1, {-3: 0.1}), "boundary must be at least 0, got -3"),
        (lambda: optim.piecewise_constant(0.1, {3: -0.1}), "scale must be finite and at least 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "factory", [optim.adam, optim.adamw, optim.nadam, optim.amsgrad, optim.lion, optim.muon]
)
def test_an_average_is_kept_in_floating_point(factory):
    with pytest.raises(TypeError, match=r"mu_dtype is int32, .*: mu_dtype=jnp\.bfloat16"):
        factory(0.1, mu_dtype="int32")


def test_a_whole_number_may_be_larger_than_an_int32():
    params = np.float32([3.0, -4.0])

    @jax.jit
    def updates(params):
        far = optim.clip(2**40), optim.clip_by_global_norm(2**40), optim.sgd(optim.constant(2**40))
        return [one.update(params, one.init(params), params)[0] for one in far]

    np.testing.assert_array_equal(updates(params), [params, params, -(2.0**40) * params])
    with pytest.raises(ValueError, match="max_delta must be finite and at least 0, got 1000"):
        optim.clip(10**400)
    with pytest.raises(ValueError, match="start must be at most 2147483647, got 2147483648"):
        optim.swa(2**31)
    with pytest.raises(ValueError, match="delayed: staleness is 2147483648, but a number"):
        optim.delayed(optim.sgd(0.1), 2**31)


def test_what_is_no_schedule_and_no_penalty_is_refused():
    with pytest.raises(TypeError, match=r"write warmup\(constant\(0\.1\), …\)"):
        optim.warmup(0.1, 10)
    with pytest.raises(TypeError, match=r"proximal takes a penalty such as optim\.l1\(1e-3\)"):
        optim.proximal(0.1, lambda params: 0.0)


# ---------------------------------------------------------------------------------------- leaves

WEIGHTY = {  # what looks at the weights, chained before or behind an optimizer
    "decay_weights": optim.decay_weights(0.1),
    "max_norm": optim.max_norm(1.0, mask="**"),
    "proximal": optim.proximal(0.1, optim.l1(0.1)),
    "add_penalty": optim.add_penalty(optim.l2(0.1)),
    "ema_of_weights": optim.ema_of_weights(0.9),
    "swa": optim.swa(0),
    "lookahead": optim.lookahead(),
    "sam": optim.sam(),
}
every_weighty = pytest.mark.parametrize("name", WEIGHTY)


@every_weighty
def test_what_looks_at_the_weights_asks_for_them(name):
    params = {"kernel": jnp.ones((2, 2))}
    state = WEIGHTY[name].init(params)
    with pytest.raises(
        ValueError, match=rf"^{name} needs the parameters: update\(grads, opt_state"
    ):
        WEIGHTY[name].update(params, state)


def test_what_an_update_needs_beside_is_asked_for():
    params = jnp.ones(2)
    with pytest.raises(ValueError, match=r"grad_fn=jax\.grad\(loss\)"):
        optim.sam().update(params, optim.sam().init(params), params)
    plateau = optim.reduce_on_plateau()
    with pytest.raises(ValueError, match="validation=loss, validations=count"):
        plateau.update(params, plateau.init(params), params, validation=1.0)


@pytest.mark.parametrize("params", [{}, (), [], {"conv": {}, "head": ()}])
def test_an_empty_tree_is_refused(params):
    transformations = [factory(0.1) for factory in FACTORIES] + list(WEIGHTY.values())
    for transformation in [*transformations, optim.reduce_on_plateau()]:
        with pytest.raises(ValueError, match="the tree of parameters is empty, got"):
            transformation.init(params)


@pytest.mark.parametrize(
    "transformation",
    [
        optim.decay_weights(0.1, mask="**/kernle"),
        optim.max_norm(1.0, mask="**/kernle"),
        optim.max_norm(1.0),
        optim.proximal(0.1, optim.l1(0.1, mask="**/kernle")),
        optim.add_penalty(optim.elastic_net(0.1, mask="**/kernle")),
        optim.add_penalty(optim.group_lasso(0.1)),
        optim.adamw(0.1, mask="**/kernle"),
        optim.lion(0.1, mask="**/kernle"),
        optim.lamb(0.1, mask="**/kernle"),
        optim.muon(0.1, mask="**/kernle"),
    ],
)
def test_a_glob_that_fits_no_leaf_is_refused(transformation):
    with pytest.raises(ValueError, match=r'"\*\*/kern.*" fits no leaf.*head/weight'):
        transformation.init({"head": {"weight": jnp.ones((2, 2))}})


def test_a_leaf_without_the_axis_is_refused():
    params = {"bias": jnp.ones(())}
    norms = optim.max_norm(1.0, mask="**")
    with pytest.raises(ValueError, match=r"max_norm: a leaf is \[\], but one with axis -1"):
        norms.update(params, norms.init(params), params)
    with pytest.raises(ValueError, match=r"group_lasso: a leaf is \[3\], but one with axis -2"):
        optim.group_lasso(0.1, mask="bias")({"bias": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"muon: bias is \[\], but a matrix"):
        optim.muon(0.1, mask="bias").init(params)


def test_one_average_is_wanted():
    params = jnp.ones(2)
    for optimizer, found in [
        (optim.sgd(0.1), 0),
        (optax.chain(optim.sgd(0.1), optim.swa(0), optim.lookahead()), 2),
    ]:
        with pytest.raises(ValueError, match=f"holds {found} averages of the weights, but one"):
            optim.averaged(optimizer.init(params), params)


@every_factory
@pytest.mark.parametrize(
    "leaf",
    [jnp.ones(3, jnp.int32), jnp.ones(3, jnp.complex64), np.ones(3, bool), jax.random.key(0)],
)
def test_a_leaf_that_is_not_real_is_named(factory, leaf):
    params = {"conv1": [jnp.ones(2), {"kernel": leaf}]}
    with pytest.raises(TypeError, match=r"conv1/1/kernel is .*only real floating-point leaves"):
        factory(0.1).init(params)


def test_an_integer_leaf_can_be_masked_away():
    params = {"kernel": np.ones(2, np.float32), "steps": np.ones((), np.int32)}
    optimizer = optax.masked(optim.adam(0.1), {"kernel": True, "steps": False})
    updates, _ = jax.jit(optimizer.update)(params, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], [-0.1, -0.1], rtol=1e-5)


def test_weight_decay_asks_for_the_parameters():
    optimizer = optim.adamw(0.1)
    with pytest.raises(ValueError, match=r"update\(grads, opt_state, params\)"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


@every_factory
@pytest.mark.parametrize("rate", [0, 1, np.float64(0.1), np.asarray(0.1), jnp.bfloat16(0.1)])
def test_any_kind_of_number_is_a_rate(factory, rate):
    optimizer, params = factory(rate), np.ones(2, np.float32)
    updates, _ = jax.eval_shape(lambda p: optimizer.update(p, optimizer.init(p), p), params)
    assert updates.dtype == jnp.float32


@every_factory
def test_everything_masked_away_is_no_error(factory):
    params = {"kernel": jnp.ones(2)}
    optimizer = optax.masked(factory(0.1), {"kernel": False})
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_array_equal(updates["kernel"], params["kernel"])


def test_float64_stays_float64(x64):
    with jax.numpy_dtype_promotion("strict"):
        for factory in FACTORIES:
            optimizer = factory(jnp.float32(0.1))
            updates, state = jax.eval_shape(
                lambda p, optimizer=optimizer: optimizer.update(p, optimizer.init(p), p), np.ones(2)
            )
            assert updates.dtype == jnp.float64
            assert jnp.float32 not in {leaf.dtype for leaf in jax.tree.leaves(state)}
