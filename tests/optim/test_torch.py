"""PyTorch, where its conventions agree with these."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import optim

RMS = {"alpha": 0.9, "eps": 1e-3}

PAIRS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "sgd": (optim.sgd(0.1), "SGD", {"lr": 0.1}),
    "momentum": (optim.momentum(0.1, 0.8), "SGD", {"lr": 0.1, "momentum": 0.8}),
    "nesterov": (
        optim.nesterov(0.1, 0.8),
        "SGD",
        {"lr": 0.1, "momentum": 0.8, "nesterov": True},
    ),
    "rmsprop": (optim.rmsprop(0.01, eps=1e-3, eps_in_sqrt=False), "RMSprop", {"lr": 0.01, **RMS}),
    "rmsprop, centered, with momentum": (
        optim.rmsprop(0.01, eps=1e-3, eps_in_sqrt=False, centered=True, momentum=0.5),
        "RMSprop",
        {"lr": 0.01, **RMS, "centered": True, "momentum": 0.5},
    ),
    "adagrad": (
        optim.adagrad(0.1, initial_accumulator_value=0.0, eps=0.0),
        "Adagrad",
        {"lr": 0.1, "eps": 0.0},
    ),
    "adadelta": (
        optim.adadelta(0.5, rho=0.8, eps=1e-4),
        "Adadelta",
        {"lr": 0.5, "rho": 0.8, "eps": 1e-4},
    ),
    "adam": (optim.adam(0.05, b1=0.8, b2=0.95), "Adam", {"lr": 0.05, "betas": (0.8, 0.95)}),
    "adamw": (
        optim.adamw(0.05, weight_decay=0.1),
        "AdamW",
        {"lr": 0.05, "weight_decay": 0.1},
    ),
}


# What is called as there, and answered with the call to write here.
AS_THERE = [
    (optim.sgd, "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    (optim.sgd, "SGD", {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.3}),
    (optim.sgd, "SGD", {"lr": 0.1, "weight_decay": 0.3, "maximize": True}),
    (optim.adam, "Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3}),
    (optim.adamw, "AdamW", {"lr": 0.05, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    (optim.adadelta, "Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-4}),
]


@pytest.mark.parametrize("name", PAIRS)
def test_equals_torch(name, torch):
    assert_equal(torch, *PAIRS[name])


@pytest.mark.parametrize(("factory", "their_name", "options"), AS_THERE)
def test_a_call_as_torchs_is_answered_with_what_equals_torch(factory, their_name, options, torch):
    with pytest.raises(TypeError) as caught:
        factory([jnp.ones(5)], **options)
    told = str(caught.value).partition(": write ")[2].partition("; ")[0]
    assert_equal(torch, eval(told, {"optim": optim, "optax": optax}), their_name, options)


def assert_equal(torch, optimizer, their_name, options):
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=5).astype("float32"), rng.normal(size=(50, 5)).astype("float32")

    weights = torch.nn.Parameter(torch.tensor(start))
    theirs = getattr(torch.optim, their_name)([weights], **options)
    params = jnp.asarray(start)
    state = optimizer.init(params)
    for grad in grads:
        weights.grad = torch.tensor(grad)
        theirs.step()
        updates, state = optimizer.update(jnp.asarray(grad), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, weights.detach().numpy(), rtol=1e-5, atol=1e-6)
