from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import nn, tree
from dlcore.nn import init

X = np.random.default_rng(0).normal(0.5, 3.0, (64, 6, 6, 3)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def outputs(layer, params, state):
    """What every layer with a kernel gives."""
    _, seen = nn.observed(layer.apply, params, state, X)
    return {
        path: call.y
        for path, call in seen.items()
        if not call.layer.info.children and "kernel" in tuple(call.params)
    }


def variances(layer, params, state):
    """Those of the outputs, in NumPy."""
    found = outputs(layer, params, state)
    return {path: np.asarray(y, np.float64).var() for path, y in found.items()}


def deep(activation):
    hidden = [nn.linear(40, 40, kernel_init=init.normal(0.01)), activation] * 20
    return nn.serial(nn.flatten, nn.linear(108, 40), activation, *hidden, nn.linear(40, 5))


def blocks():
    body = nn.serial(nn.conv(8, 8, 3, padding="SAME"), F.relu, nn.conv(8, 8, 3, padding="SAME"))
    return nn.serial(
        nn.conv(3, 8, 3, padding="SAME"),
        nn.repeat(nn.residual(body, activation=F.relu), 3, scan=True),
        nn.concat(nn.conv(8, 4, 1), nn.conv(8, 4, 3, padding="SAME")),
        nn.flatten,
        nn.dropout(0.5),
        nn.linear(288, 5),
    )


@pytest.mark.parametrize(
    ("make", "weighted"),
    [
        (lambda: deep(F.relu), 22),
        pytest.param(lambda: deep(F.tanh), 22, marks=pytest.mark.slow),
        (blocks, 10),
    ],
)
def test_every_weighted_layer_gives_variance_1(make, weighted):
    layer = make()
    drawn, state = layer.init(jax.random.key(0))
    params = nn.lsuv(layer, drawn, state, X)
    found = variances(layer, params, state)
    assert len(found) == weighted
    np.testing.assert_allclose(list(found.values()), 1, atol=0.0101)
    before = np.array(list(variances(layer, drawn, state).values()))
    assert (abs(before - 1) > 0.1).all()  # there was something to do
    # Each kernel keeps its direction, and everything else its value.
    for (path, new), old in zip(
        tree.leaves_with_paths(params), jax.tree.leaves(drawn), strict=True
    ):
        ratio = np.asarray(new) / np.where(np.asarray(old) == 0, 1, old)
        if path.endswith("kernel"):
            np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-4)
        else:
            np.testing.assert_array_equal(new, old)


def test_a_bias_takes_several_attempts():
    layer = nn.serial(nn.flatten, nn.linear(108, 40, bias_init=init.normal(0.5)))
    params, state = layer.init(jax.random.key(0))
    (found,) = variances(layer, nn.lsuv(layer, params, state, X), state).values()
    assert found == pytest.approx(1, abs=0.0101)
    with pytest.raises(ValueError, match=r"linear1 has outputs of variance .* after 1 attempts"):
        nn.lsuv(layer, params, state, X, attempts=1, tolerance=1e-4)


def test_what_is_frozen_stays_and_a_shared_layer_counts_once():
    def forward(parts, x, *, key, train):
        return parts.out(parts.shared(parts.shared(x)))

    layer = nn.wire(forward, shared=nn.linear(3, 3), out=nn.linear(3, 2))
    layer = nn.freeze(layer, "out/**")
    params, state = layer.init(jax.random.key(0))
    scaled = nn.lsuv(layer, params, state, X)
    found = variances(layer, scaled, state)
    assert found["shared"] == pytest.approx(1, abs=0.0101)
    assert found["shared'"] != pytest.approx(1, abs=0.0101)
    np.testing.assert_array_equal(scaled["out"]["kernel"], params["out"]["kernel"])


def test_refuses():
    zero = nn.serial(nn.flatten, nn.linear(108, 4, kernel_init=init.zeros))
    with pytest.raises(ValueError, match="linear1 has outputs of variance 0 after 0 attempts"):
        nn.lsuv(zero, *zero.init(jax.random.key(0)), X)
    none = nn.serial(nn.flatten, F.relu)
    with pytest.raises(ValueError, match="lsuv: a network with layers that have kernels is wanted"):
        nn.lsuv(none, *none.init(jax.random.key(0)), X)
    layer = nn.serial(nn.flatten, nn.linear(108, 4))
    with pytest.raises(ValueError, match="variance nan"):
        nn.lsuv(layer, *layer.init(jax.random.key(0)), np.full_like(X, np.nan))
