from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import models, nn


class Scale:
    def by_two(self, x):
        return 2 * x

    def __call__(self, x):
        return 3 * x


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (F.relu, [0.0, 2.0]),
        (jax.nn.relu, [0.0, 2.0]),
        (jnp.tanh, np.tanh([-1.0, 2.0])),
        (functools.partial(F.leaky_relu, negative_slope=0.5), [-0.5, 2.0]),
        (functools.partial(lambda x, kind: x + kind, kind=1.0), [0.0, 3.0]),
        (Scale().by_two, [-2.0, 4.0]),
        (Scale(), [-3.0, 6.0]),
        (lambda x: -x, [1.0, -2.0]),
    ],
)
def test_a_function_of_one_array_is_a_layer(function, expected):
    layer = nn.as_layer(function)
    params, state = layer.init(jax.random.key(0))
    y, new_state = layer.apply(params, state, np.float32([-1.0, 2.0]))
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    assert (params, state, new_state) == ((), (), ())


@pytest.mark.parametrize(
    "thing",
    [
        nn.linear,
        nn.max_pool,
        nn.serial,
        models.mlp,
        Scale,
        3,
        None,
        nn.linear(2, 3).init,
        nn.linear(2, 3).apply,
        nn.serial(F.relu).init,
        nn.serial(F.relu).apply,
    ],
)
def test_what_is_no_layer_is_refused(thing):
    with pytest.raises(
        TypeError, match=r"write|pass the Layer|Layer or a function|takes one array"
    ):
        nn.serial(thing)


def test_a_factory_without_annotation_is_refused_when_it_is_used():
    layer = nn.as_layer(lambda x: nn.linear(2, 3))
    with pytest.raises(TypeError, match="was not called"):
        layer.apply((), (), jnp.ones(2))


def test_a_scanned_block_that_changes_the_shape_is_refused_in_words():
    layer = nn.serial(nn.repeat(lambda x: jnp.concatenate([x, x]), 3, scan=True))
    with pytest.raises(ValueError, match="keep the shape") as caught:
        layer.apply((), (), jnp.ones(2))
    assert any("repeat1/0…2" in note for note in caught.value.__notes__)
