"""Params and state of another network are refused, by path, before they give another result."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import models, nn, train

KEY = jax.random.key(0)
X = np.ones((2, 3), np.float32)
NET = nn.serial(nn.linear(3, 4), nn.batch_norm(4), nn.linear(4, 2))
PARAMS, STATE = NET.init(KEY)


def without(tree, name):
    return {one: leaf for one, leaf in tree.items() if one != name}


@pytest.mark.parametrize(
    ("params", "state", "told"),
    [
        (
            STATE,
            PARAMS,
            "serial was given its state as params: the order is apply(params, state, x)",
        ),
        ((PARAMS, STATE), STATE, "(params, state) as params: params, state = layer.init(key)"),
        (
            train.train_state(NET, optax.sgd(0.1)),
            (),
            "a TrainState as params: give its .params and",
        ),
        (PARAMS, (), "2 leaves differ: state/batch_norm1/mean: wanted [4], got none"),
        (None, STATE, "6 leaves differ: params/batch_norm1/offset: wanted [4], got none"),
        (without(PARAMS, "linear1"), STATE, "params/linear1/bias: wanted [4], got none"),
        (
            {**PARAMS, "linear3": PARAMS["linear2"]},
            STATE,
            "2 leaves differ: params/linear3/bias: wanted none, got [2]",
        ),
        (
            {**PARAMS, "linear2": nn.linear(4, 5).init(KEY)[0]},
            STATE,
            "params/linear2/bias: wanted [2], got [5]; params/linear2/kernel: wanted [4, 2], got",
        ),
    ],
)
@pytest.mark.parametrize("transform", [lambda apply: apply, lambda apply: jax.make_jaxpr(apply)])
def test_what_is_not_its_own_is_told(params, state, told, transform):
    with pytest.raises(ValueError, match=r"^serial was given") as caught:
        transform(NET.apply)(params, state, X)
    assert told in str(caught.value)
    assert caught.value.__suppress_context__


def test_an_error_of_the_input_stays_what_it_is():
    with pytest.raises(ValueError, match=r"linear expected \[..., 3\], got float32\[2, 5\]"):
        NET.apply(PARAMS, STATE, np.ones((2, 5), np.float32))


def test_other_dtypes_and_memory_are_its_own():
    layer = nn.serial(nn.lstm(3, 4))
    params, state = layer.init(KEY)
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    x = jnp.ones((2, 5, 3), jnp.bfloat16)
    y, _ = jax.eval_shape(layer.apply, narrow, nn.joined(state, nn.memory(layer, 2)), x)
    assert y.dtype == jnp.bfloat16
    with pytest.raises(ValueError, match="memory is of 3 sequences, but x has 2"):
        layer.apply(narrow, nn.joined(state, nn.memory(layer, 3)), x)


def test_a_layer_whose_own_parameters_only_values_tell_is_left_alone():
    def draw(key):
        size = int(jax.random.randint(key, (), 3, 4))  # known outside of a trace alone
        return {"scale": jnp.ones(size)}, ()

    layer = nn.make("own", draw, lambda params, state, x, **_: (x * params["scale"], state))
    y, _ = layer.apply({"scale": np.full(3, 2.0, np.float32)}, (), X)
    np.testing.assert_array_equal(y, 2 * X)


def test_a_model_has_its_own_name_in_errors():
    layer = models.gpt(7, 8, features=8, heads=2, layers=1)
    with pytest.raises(ValueError, match=r"^gpt was given params or state of another network"):
        layer.apply({}, (), np.zeros((1, 2), np.int32))
    with pytest.raises(TypeError, match=r"^gpt does not read 'msk', did you mean 'mask'"):
        layer.apply({}, (), np.zeros((1, 2), np.int32), msk=np.ones((1, 2), bool))
