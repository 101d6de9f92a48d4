from __future__ import annotations

import functools

import chex
import jax
import numpy as np
import pytest
from flax import linen

from dlcore import nn, tree

B, T, FEATURES, HEADS = 3, 5, 8, 2
X = np.random.default_rng(0).normal(size=(B, T, FEATURES)).astype(np.float32)
LAYER = nn.attention(FEATURES, HEADS, bias_init=nn.init.normal(0.5))
PARAMS, STATE = LAYER.init(jax.random.key(0))


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradients(apply, params, x):
    y, back = jax.vjp(apply, params, x)
    return y, *back(y**2)


@jax.jit
def ours(params, x):
    return LAYER.apply(params, STATE, x)[0]


def test_values_and_gradients_are_torchs(torch):
    module = torch.nn.MultiheadAttention(FEATURES, HEADS, batch_first=True)
    projections = [PARAMS[name] for name in ("query", "key", "value")]
    weights = {
        "in_proj_weight": np.concatenate([part["kernel"].T for part in projections]),
        "in_proj_bias": np.concatenate([part["bias"] for part in projections]),
        "out_proj.weight": np.asarray(PARAMS["output"]["kernel"]).T,
        "out_proj.bias": np.array(PARAMS["output"]["bias"]),
    }
    module.load_state_dict({name: torch.tensor(weight) for name, weight in weights.items()})
    x = torch.tensor(np.asarray(X), requires_grad=True)
    expected, _ = module(x, x, x, need_weights=False)
    (expected**3 / 3).sum().backward()
    y, by_params, by_x = value_and_gradients(ours, PARAMS, X)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_x, x.grad.numpy(), rtol=1e-4, atol=1e-5)
    projected = [by_params[name] for name in ("query", "key", "value")]
    found = {
        "in_proj_weight": np.concatenate([part["kernel"].T for part in projected]),
        "in_proj_bias": np.concatenate([part["bias"] for part in projected]),
        "out_proj.weight": by_params["output"]["kernel"].T,
        "out_proj.bias": by_params["output"]["bias"],
    }
    theirs = {name: weight.grad.numpy() for name, weight in module.named_parameters()}
    chex.assert_trees_all_close(found, theirs, rtol=1e-4, atol=1e-5)


def test_values_and_gradients_are_flaxs(standard_promotion):
    module = linen.MultiHeadDotProductAttention(HEADS)

    def theirs(params, x):
        kernels = {
            name: {
                "kernel": part["kernel"].reshape(FEATURES, HEADS, -1),
                "bias": part["bias"].reshape(HEADS, -1),
            }
            for name, part in params.items()
        }
        kernels["out"] = {
            "kernel": params["output"]["kernel"].reshape(HEADS, -1, FEATURES),
            "bias": params["output"]["bias"],
        }
        del kernels["output"]
        return module.apply({"params": kernels}, x)

    found, wanted = (value_and_gradients(apply, PARAMS, X) for apply in (ours, theirs))
    chex.assert_trees_all_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_is_equivariant_to_the_order_of_the_tokens():
    order = [3, 0, 4, 1, 2]
    y = np.asarray(ours(PARAMS, X))
    np.testing.assert_allclose(ours(PARAMS, X[:, order]), y[:, order], rtol=1e-5, atol=1e-6)


def test_is_four_linear_layers_by_name():
    params, _ = nn.attention(8, 2, bias=False).init(jax.random.key(0))
    paths = [path for path, _ in tree.leaves_with_paths(params)]
    assert paths == ["key/kernel", "output/kernel", "query/kernel", "value/kernel"]
    kernels = [np.asarray(PARAMS[name]["kernel"]) for name in ("query", "key", "value", "output")]
    assert len({float(kernel[0, 0]) for kernel in kernels}) == 4, "each has a key of its own"
    assert repr(LAYER).splitlines()[0] == "attention(features=8, heads=2, bias=True)"
    frozen = nn.freeze(LAYER, "query/**")
    assert (frozen.info.kind, nn.frozen(frozen)) == ("attention", ("query/bias", "query/kernel"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1), "attention needs features ≥ 1"),
        ((8, 0), "attention needs heads ≥ 1"),
        ((8, 3), "features that heads divides, got features=8, heads=3"),
    ],
)
def test_refuses_sizes(arguments, message):
    with pytest.raises(ValueError, match=message):
        nn.attention(*arguments)


@pytest.mark.parametrize("shape", [(B, T, 4), (T, FEATURES), (B, 2, 3, FEATURES)])
def test_refuses_another_input(shape):
    with pytest.raises(ValueError, match=r"attention expected \[B, T, 8\], got float32\["):
        LAYER.apply(PARAMS, STATE, np.ones(shape, np.float32))
