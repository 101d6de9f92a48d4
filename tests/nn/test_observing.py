from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import nn, train
from dlcore.analysis import profile
from tests.cells import masked_mean

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)


def looped(loop):
    """A cell over time: hₜ = cell(hₜ₋₁ + xₜ), by `loop`."""

    def forward(parts, x, *, key, train):
        def one(h, x):
            h = parts.cell(h + x)
            return h, h

        _, ys = loop(one, jnp.zeros_like(x[:, 0]), jnp.swapaxes(x, 0, 1))
        return jnp.swapaxes(ys, 0, 1)

    cell = nn.serial(nn.linear(4, 4), F.tanh)
    wired = nn.wire(forward, cell=cell)
    return nn.serial(nn.named("before", nn.linear(4, 4)), nn.named("loop", wired))


def by_hand(params, x):
    """What the cell gives at each time, in NumPy."""
    before = x @ params["before"]["kernel"] + params["before"]["bias"]
    cell = params["loop"]["cell"]["linear1"]
    h, ys = np.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = np.tanh((h + before[:, t]) @ cell["kernel"] + cell["bias"])
        ys.append(h)
    return np.stack(ys, 1)


def test_an_objective_is_seen_with_the_gradient_by_every_output():
    layer = nn.serial(nn.linear(4, 6), F.tanh, nn.repeat(nn.residual(nn.linear(6, 6)), 2))
    params, state = layer.init(jax.random.key(0))
    objective = train.regression(layer)
    batch = {"x": X[:, 0], "y": np.ones((3, 6), np.float32)}

    @jax.jit
    def look(params):
        def loss(offsets):
            (value, _), seen = nn.observed(objective, params, state, batch, offsets=offsets)
            return value, {path: call.y for path, call in seen.items()}

        _, seen = nn.observed(objective, params, state, batch)
        zeros = {path: jnp.zeros_like(call.y) for path, call in seen.items()}
        return jax.grad(loss, has_aux=True)(zeros)

    gradients, outputs = look(params)
    assert set(gradients) == {
        "linear1",
        "tanh1",
        "repeat1",
        *(f"repeat1/{i}{leaf}" for i in (0, 1) for leaf in ("", "/body", "/skip")),
    }
    expected = 2 * (outputs["repeat1"] - 1) / 18
    np.testing.assert_allclose(gradients["repeat1"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gradients["repeat1/1/body"], expected, rtol=1e-4, atol=1e-6)
    through = expected + expected @ params["repeat1"]["1"]["body"]["kernel"].T
    np.testing.assert_allclose(gradients["repeat1/0"], through, rtol=1e-4, atol=1e-6)
    slope = 1 - np.square(outputs["tanh1"])
    np.testing.assert_allclose(
        gradients["linear1"], gradients["tanh1"] * slope, rtol=1e-4, atol=1e-6
    )


def test_a_loop_is_seen_into_turn_by_turn():
    layer = looped(nn.scan)
    params, state = layer.init(jax.random.key(0))

    @jax.jit
    def look(params, x):
        def loss(offsets):
            (y, _), seen = nn.observed(layer.apply, params, state, x, offsets=offsets)
            values = {path: call.y for path, call in seen.items()}
            return jnp.sum(y[:, -1]), (values, seen["loop/cell"].x)

        zeros = {"before": jnp.zeros_like(x), "loop/cell": jnp.zeros((5, 3, 4))}
        return jax.grad(loss, has_aux=True)(zeros)

    gradients, (seen, given) = look(params, X)
    expected = by_hand(jax.tree.map(np.asarray, params), X)
    assert set(seen) == {"before", "loop", "loop/cell", "loop/cell/linear1", "loop/cell/tanh1"}
    np.testing.assert_allclose(seen["loop"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        jnp.swapaxes(seen["loop/cell"], 0, 1), expected, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(given[0], seen["before"][:, 0], rtol=1e-5)
    # backpropagation through time, by hand
    delta = np.ones((3, 4), np.float32)
    for t in reversed(range(5)):
        np.testing.assert_allclose(gradients["loop/cell"][t], delta, rtol=1e-3, atol=1e-5)
        kernel = np.asarray(params["loop"]["cell"]["linear1"]["kernel"])
        delta = (delta * (1 - np.square(expected[:, t]))) @ kernel.T
        np.testing.assert_allclose(gradients["before"][:, t], delta, rtol=1e-3, atol=1e-5)


def test_a_loop_that_nobody_looks_into_is_jaxs_own():
    def body(carry, x):
        return carry + x, carry

    for reverse in (False, True):
        ours, jaxs = (
            loop(body, 0.0, jnp.arange(4.0), reverse=reverse) for loop in (nn.scan, jax.lax.scan)
        )
        chex.assert_trees_all_equal(ours, jaxs)


@pytest.mark.parametrize("reverse", [False, True])
def test_turns_stand_in_the_order_of_xs(reverse):
    layer = looped(functools.partial(nn.scan, reverse=reverse))
    params, state = layer.init(jax.random.key(0))

    @jax.jit
    def look(x):
        return layer.apply(params, state, x)[0], nn.intermediates(layer, params, state, x)

    y, seen = look(X)
    np.testing.assert_allclose(jnp.swapaxes(seen["loop/cell"], 0, 1), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrap", [jax.lax.scan, "jit", "vmap", "checkpoint"])
def test_what_another_trace_computes_is_seen_as_shapes(wrap):
    if wrap is jax.lax.scan:
        layer = looped(wrap)
    else:
        inside = {"jit": jax.jit, "vmap": jax.vmap, "checkpoint": jax.checkpoint}[wrap]

        def forward(parts, x, *, key, train):
            return inside(lambda x: parts.cell(x))(x)

        cell = nn.serial(nn.linear(4, 4), F.tanh)
        layer = nn.serial(
            nn.named("before", nn.linear(4, 4)), nn.named("loop", nn.wire(forward, cell=cell))
        )
    params, state = layer.init(jax.random.key(0))
    _, seen = nn.observed(layer.apply, params, state, X)
    assert not seen["loop/cell"].has_values
    assert seen["loop/cell"].y.shape[-1] == 4
    found = jax.jit(lambda x: nn.intermediates(layer, params, state, x))(X)
    assert set(found) == {"before", "loop"}
    assert "loop/cell/linear1  linear(4, 4)" in repr(nn.summary(layer, X.shape))


def test_a_summary_counts_the_turns_of_a_loop():
    rows = {row.path: row for row in nn.summary(looped(nn.scan), X.shape).rows}
    cell = rows["loop/cell/linear1"]
    assert (cell.layer, cell.output, cell.parameters) == ("linear(4, 4) × 5", "[3, 4]", 20)
    assert cell.flops == 5 * 3 * (2 * 4 * 4 - 4 + 4)


@pytest.mark.slow
def test_a_profile_counts_the_turns_of_a_loop():
    layer = looped(nn.scan)
    params, state = layer.init(jax.random.key(0))
    table = profile(layer, params, state, X, rounds=1)
    rows = {row.path: row for row in table.rows}
    assert rows["loop/cell/linear1"].flops == 5 * rows["before"].flops / 5
    with pytest.raises(ValueError, match="loop/cell/linear1 is applied inside a jit, vmap or lax"):
        profile(looped(jax.lax.scan), params, state, X, rounds=1)


@pytest.mark.slow
def test_summary_and_profile_take_side_inputs():
    layer = nn.serial(nn.attention(4, 2), masked_mean)
    table = nn.summary(layer, (3, 5, 4), mask=(3, 5))
    assert table.input == "float32[3, 5, 4], mask bool[3, 5]"
    assert table.rows[-1].output == "[3, 4]"
    params, state = layer.init(jax.random.key(0))
    mask = np.ones((3, 5), bool)
    assert profile(layer, params, state, X, mask=mask, rounds=1).rows[-1].output == "[3, 4]"
    seen = nn.intermediates(layer, params, state, X, mask=mask)
    np.testing.assert_allclose(
        seen["masked_mean1"], seen["attention1"].mean(1), rtol=1e-5, atol=1e-6
    )


def test_offsets_are_checked():
    layer = nn.serial(nn.linear(4, 2))
    params, state = layer.init(jax.random.key(0))
    with pytest.raises(ValueError, match="at 'linear', did you mean 'linear1'"):
        nn.observed(layer.apply, params, state, X, offsets={"linear": X})
    with pytest.raises(ValueError, match=r"linear1 gives float32\[3, 5, 2\], but its offset is"):
        nn.observed(layer.apply, params, state, X, offsets={"linear1": X})
