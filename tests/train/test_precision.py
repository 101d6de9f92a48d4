from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn, train


def dtypes(tree):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}


def test_bfloat16_computes_in_bfloat16_and_keeps_everything_else(network, blobs):
    layer = train.with_precision(network(), "bfloat16")
    params, state = layer.init(jax.random.key(0))
    x = blobs()["x"]

    def forward(params):
        return layer.apply(params, state, x, key=jax.random.key(1), train=True)

    jaxpr = str(jax.make_jaxpr(forward)(params))
    products = [line for line in jaxpr.splitlines() if "dot_general" in line]
    assert products
    assert all("bf16" in line.split("=")[0] for line in products)
    y, new_state = jax.eval_shape(forward, params)
    assert dtypes((params, new_state, y)) == {"float32"}
    gradient = jax.eval_shape(jax.grad(lambda p: jnp.sum(forward(p)[0])), params)
    assert dtypes(gradient) == {"float32"}


@pytest.mark.slow
def test_it_trains_nearly_as_in_float32(problem, network, blobs):
    losses = {}
    for precision in ("float32", "bfloat16"):
        step, state = problem(layer=train.with_precision(network(), precision))
        *_, record = train.fit(step, state, blobs(), epochs=15, batch_size=16)
        losses[precision] = record.metrics["loss"]
        assert dtypes(record.totals) == {"float32"}
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.05)


def test_paths_and_description_are_the_layers_own():
    layer = nn.serial(nn.linear(2, 3))
    assert repr(train.with_precision(layer, "bfloat16")) == repr(layer)
    assert train.with_precision(layer, "float32") is layer


@pytest.mark.parametrize("make", [lambda: nn.serial(nn.linear(2, 3)), lambda: nn.linear(2, 3)])
def test_freezing_and_thawing_keep_it(make):
    """To thaw is to go back to the layer before it was frozen: that one is bfloat16 too."""
    frozen = train.with_precision(nn.freeze(make(), "**/bias"), "bfloat16")
    params, state = frozen.init(jax.random.key(0))
    for layer in (frozen, nn.thaw(frozen, "**"), nn.freeze(frozen, "**/kernel")):
        jaxpr = str(jax.make_jaxpr(layer.apply)(params, state, np.ones((4, 2), "f")))
        assert "bf16[4,3]" in jaxpr


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="float32, bfloat16"):
        train.with_precision(nn.linear(1, 1), "float8")


def test_a_wide_state_widens_nothing_after_it():
    """What every layer inside gives is bfloat16, though one adds a float32 state of its own."""

    def shifted(size):
        def apply(params, state, x, *, key=None, train=False):
            return jnp.add(x.astype(jnp.float32), state["mean"]), state

        return nn.make("shifted", lambda key: ((), {"mean": jnp.zeros(size)}), apply)

    layer = train.with_precision(
        nn.serial(nn.linear(2, 3), shifted(3), nn.residual(nn.linear(3, 3))), "bfloat16"
    )
    params, state = layer.init(jax.random.key(0))
    (y, after), seen = nn.observed(layer.apply, params, state, np.ones((4, 2), np.float32))
    assert {path: call.y.dtype for path, call in seen.items()} == dict.fromkeys(seen, jnp.bfloat16)
    assert "shifted1" in seen
    assert (y.dtype, after["shifted1"]["mean"].dtype) == (jnp.float32, jnp.float32)
