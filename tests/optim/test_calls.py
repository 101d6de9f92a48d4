"""Calls as other libraries have them: refused in one line, whose own call does what theirs does."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest

from dlcore import optim

PARAMS = {"bias": np.float32([0.5, -2.0]), "kernel": np.float32([[1.0, -3.0], [0.2, 4.0]])}
GRADS = {"bias": np.float32([1.0, 0.1]), "kernel": np.float32([[-0.5, 2.0], [3.0, -1.0]])}
KERNEL = {"bias": False, "kernel": True}


def answer(call):
    """What a call is told, in one line."""
    with pytest.raises(TypeError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def corrected(call):
    """What the call makes that the answer says to write."""
    told = answer(call).partition(": write ")[2].partition("; ")[0]
    return eval(told, {"optim": optim, "optax": optax})


CALLS = [
    (lambda: optim.sgd(lr=0.1), optax.sgd(0.1)),
    (lambda: optim.sgd(step_size=0.1), optax.sgd(0.1)),
    (lambda: optim.sgd(0.1, momentum=0.9), optax.sgd(0.1, momentum=0.9)),
    (lambda: optim.sgd(0.1, momentum=0), optax.sgd(0.1)),
    (lambda: optim.sgd(0.1, 0.9), optax.sgd(0.1, 0.9)),
    (lambda: optim.sgd(0.1, 0.9, True), optax.sgd(0.1, 0.9, True)),
    (
        lambda: optim.sgd(0.1, nesterov=True, momentum=0.9),
        optax.sgd(0.1, nesterov=True, momentum=0.9),
    ),
    (lambda: optim.sgd(0.1, momentum=0.9, nesterov=False), optax.sgd(0.1, momentum=0.9)),
    (lambda: optim.momentum(0.1, nesterov=True), optax.sgd(0.1, 0.9, nesterov=True)),
    (lambda: optim.momentum(0.1, decay=0.8), optax.sgd(0.1, 0.8)),
    (
        lambda: optim.sgd(0.1, weight_decay=0.3, momentum=0.9),
        optax.chain(optax.add_decayed_weights(0.3), optax.sgd(0.1, 0.9)),
    ),
    (
        lambda: optim.sgd(0.1, maximize=True, clipvalue=0.4),
        optax.chain(optax.clip(0.4), optax.scale(-1.0), optax.sgd(0.1)),
    ),
    (lambda: optim.sgd(PARAMS, 0.1), optax.sgd(0.1)),
    (lambda: optim.sgd(PARAMS.values(), 0.1, momentum=0.9), optax.sgd(0.1, 0.9)),
    (lambda: optim.adam(PARAMS, 0.1), optax.adam(0.1)),
    (lambda: optim.adam(PARAMS, lr=0.1), optax.adam(0.1)),
    (lambda: optim.adam([PARAMS["bias"]], lr=0.1, foreach=True), optax.adam(0.1)),
    (lambda: optim.adam((leaf for leaf in GRADS.values()), lr=0.1), optax.adam(0.1)),
    (lambda: optim.adam(0.1, betas=(0.5, 0.8), epsilon=0.1), optax.adam(0.1, 0.5, 0.8, 0.1)),
    (lambda: optim.adam(0.1, beta_1=0.5, beta_2=0.8), optax.adam(0.1, 0.5, 0.8)),
    (lambda: optim.adam(0.1, nesterov=True), optax.adam(0.1, nesterov=True)),
    (lambda: optim.adam(0.1, amsgrad=True), optax.amsgrad(0.1)),
    (lambda: optim.adam(0.1, weight_decay=0.3), optax.adamw(0.1, weight_decay=0.3)),
    (lambda: optim.adam(0.1, weight_decay=0.0), optax.adam(0.1)),
    (
        lambda: optim.adam(0.1, clipnorm=0.5),
        optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1)),
    ),
    (lambda: optim.adamw(0.1, wd=0.3), optax.adamw(0.1, weight_decay=0.3)),
    (
        lambda: optim.adam(0.1, mask="**/kernel", weight_decay=0.3),
        optax.adamw(0.1, weight_decay=0.3, mask=KERNEL),
    ),
    (
        lambda: optim.adamw(0.1, weight_decay=0.3, weight_decay_mask=KERNEL),
        optax.adamw(0.1, weight_decay=0.3, mask=KERNEL),
    ),
    (lambda: optim.rmsprop(0.1, alpha=0.7), optax.rmsprop(0.1, 0.7)),
    (lambda: optim.rmsprop(0.1, rho=0.7, momentum=0.5), optax.rmsprop(0.1, 0.7, momentum=0.5)),
    (lambda: optim.lion(0.1, betas=(0.5, 0.8)), optax.lion(0.1, 0.5, 0.8)),
    (
        lambda: optim.decay_weights(0.3, "**/kernel"),
        optax.add_decayed_weights(-0.3, mask=KERNEL),
    ),
    (lambda: optim.decay_weights(0.3, "bias", "kernel"), optax.add_decayed_weights(-0.3)),
    (lambda: optim.clip(clip_value=0.4), optax.clip(0.4)),
    (lambda: optim.clip_by_global_norm(clip_norm=0.4), optax.clip_by_global_norm(0.4)),
]


def test_the_corrected_call_does_what_the_other_librarys_does(standard_promotion):
    pairs = [(corrected(call), theirs) for call, theirs in CALLS]

    def after(optimizer):
        params, state = PARAMS, optimizer.init(PARAMS)
        for _ in range(2):
            updates, state = optimizer.update(GRADS, state, params)
            params = optax.apply_updates(params, updates)
        return params

    ends = jax.jit(lambda: [[after(one) for one in pair] for pair in pairs])()
    for ours, theirs in ends:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, theirs)


SCHEDULES = [
    (
        lambda: optim.step_decay(0.1, step_size=3, gamma=0.5),
        optax.exponential_decay(0.1, 3, 0.5, staircase=True),
    ),
    (lambda: optim.cosine(0.1, T_max=9), optax.cosine_decay_schedule(0.1, 9)),
    (lambda: optim.cosine(lr=0.1, decay_steps=9), optax.cosine_decay_schedule(0.1, 9)),
    (
        lambda: optim.warmup_cosine(0.1, 9, 4),
        optax.warmup_cosine_decay_schedule(0.0, 0.1, 4, 9),
    ),
    (
        lambda: optim.one_cycle(max_lr=0.1, total_steps=9),
        optax.cosine_onecycle_schedule(9, 0.1),
    ),
    (lambda: optim.linear(0.1, 0.0, total_steps=9), optax.linear_schedule(0.1, 0.0, 9)),
]


def test_the_corrected_schedule_is_the_other_librarys(standard_promotion):
    pairs = [(corrected(call), theirs) for call, theirs in SCHEDULES]
    values = jax.jit(jax.vmap(lambda t: [[one(t) for one in pair] for pair in pairs]))
    for ours, theirs in values(np.arange(12)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: optim.adam(), "adam needs learning_rate: write optim.adam(learning_rate=…)"),
        (
            lambda: optim.adam(betas=(0.9, 0.999)),
            "adam has no betas: write optim.adam(learning_rate=…, b1=0.9, b2=0.999)",
        ),
        (
            lambda: optim.adam(0.1, fused=True),
            "adam has no fused, only learning_rate, b1, b2, eps, eps_root, bias_correction, "
            "mu_dtype: write optim.adam(0.1)",
        ),
        (
            lambda: optim.adam(PARAMS, 0.1),
            "adam is given a dict of 2 arrays, the first float32[2] as learning_rate: write "
            "optim.adam(0.1); optimizer.init(params) takes the arrays",
        ),
        (
            lambda: optim.adam((leaf for leaf in PARAMS), 0.1),
            "adam is given a generator as learning_rate: write optim.adam(0.1); "
            "optimizer.init(params) takes the arrays",
        ),
        (lambda: optim.adam(0.1, learning_rate=0.2), "adam() got multiple values for argument "),
        (
            lambda: optim.adam("1e-3"),
            "learning_rate must be a number or a schedule, got '1e-3': write learning_rate=1e-3 or "
            "learning_rate=lambda count: 0.1",
        ),
        (
            lambda: optim.adam(optim.cosine),
            "learning_rate must be a schedule, a function of the count alone, but cosine was not "
            "called: write learning_rate=cosine(init_value, decay_steps)",
        ),
        (
            lambda: optim.adam(optim.sgd(0.1)),
            "learning_rate must be a number or a schedule, got GradientTransformationExtraArgs(",
        ),
        (lambda: optim.clip(PARAMS), "max_delta must be a number, got a dict of 2 arrays, the fir"),
        (
            lambda: optim.adam(0.1, b1=PARAMS["kernel"]),
            "b1 must be a number, got float32[2, 2]",
        ),
        (
            lambda: optim.swa(PARAMS["bias"]),
            "swa takes an integer as start, got float32[2]: write optim.swa(…)",
        ),
        (lambda: optim.exponential(0.1, gamma=0.9), "exponential has no gamma, only init_value, d"),
        (lambda: optim.wolfe(c1=0.1, c2=0.5), "wolfe has no c1 and c2: write optim.wolfe(decrease"),
        (
            lambda: optim.scale_by_path("stem/**"),
            "scale_by_path takes a factor for each glob, got 'stem/**': scale_by_path({",
        ),
        (lambda: optim.add_penalty(0.1), "add_penalty takes a penalty such as optim.l1(1e-3), got"),
        (
            lambda: optim.proximal(0.1, PARAMS),
            "proximal takes a penalty such as optim.l1(1e-3), got a dict of 2 arrays, the first fl",
        ),
    ],
)
def test_is_told_in_one_line(call, told):
    assert answer(call).startswith(told)


def test_an_error_from_within_is_not_mistaken_for_a_bad_call():
    def schedule(count):
        raise TypeError("its own")

    with pytest.raises(TypeError, match=r"^its own$"):
        optim.warmup(schedule, 3)(0)
    with pytest.raises(TypeError, match=r"^its own$"):
        optim.path(lambda x: schedule(x), 1.0, optim.sgd(0.1), 3)
