from __future__ import annotations

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import functional as F
from dlcore import nn
from dlcore.nn.remembering import restarted
from tests.cells import causal_attention, counting
from tests.nn.test_side_inputs import WAYS

X = np.random.default_rng(0).normal(size=(3, 20, 6)).astype(np.float32)


def houses():
    """The combinators, each around cells; and `repeat` in each of its ways."""
    cell = nn.rnn(6, 6)
    yield "serial", nn.serial(nn.linear(6, 6), cell, cell)
    yield "residual", nn.residual(cell, cell)
    yield "branch", nn.branch(jnp.add, cell, nn.linear(6, 6))
    yield "concat", nn.concat(nn.rnn(6, 4), nn.linear(6, 2))
    yield "wire", nn.wire(lambda parts, x, *, key, train: parts.a(parts.b(x)), a=cell, b=cell)
    yield "frozen", nn.freeze(nn.serial(cell, nn.linear(6, 6)), "rnn1/**")
    for way, how in WAYS.items():
        yield f"repeat {way}", nn.repeat(nn.residual(cell), 3, **how)
        first = {"first": nn.residual(cell, nn.linear(6, 6))}
        yield f"repeat with a first, {way}", nn.repeat(nn.residual(cell), 3, **first, **how)


HOUSES = dict(houses())


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", HOUSES)
def test_two_windows_are_the_whole(name, train):
    layer = nn.serial(nn.batch_norm(6), HOUSES[name], nn.linear(6, 2))
    params, state = layer.init(jax.random.key(0))
    key = jax.random.key(1)

    def of(state, x):
        # batch norm's statistics are a window's own in training
        return layer.apply(params, state, x, key=key, train=train)

    def windows(x):
        now, ys = nn.joined(state, nn.memory(layer, 3)), []
        for window in (x[:, :9], x[:, 9:]):
            y, new = of(now, window)
            chex.assert_trees_all_equal_structs(new, now)
            now = new
            ys.append(y)
        return jnp.concatenate(ys, 1), nn.parted(now)

    if train:
        layer = nn.serial(HOUSES[name], nn.linear(6, 2))
        params, state = layer.init(jax.random.key(0))
    whole, after = jax.jit(of)(state, X)
    chex.assert_trees_all_equal_structs(after, state)
    parts, (rest, memory) = jax.jit(windows)(X)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_equal(rest, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(memory, nn.memory(layer, 3))


@pytest.mark.parametrize("way", WAYS)
def test_a_cache_filled_by_tokens_is_the_whole(way):
    block = nn.serial(
        nn.residual(nn.serial(nn.layer_norm(6), causal_attention(6, 20))), nn.linear(6, 6), F.gelu
    )
    layer = nn.serial(nn.repeat(block, 2, **WAYS[way]), nn.linear(6, 2))
    params, state = layer.init(jax.random.key(0))

    @jax.jit
    def by_tokens(x):
        now = nn.joined(state, nn.memory(layer, 3))
        first, now = layer.apply(params, now, x[:, :7])

        def token(now, x):
            y, now = layer.apply(params, now, x[:, None])
            return now, y[:, 0]

        _, ys = jax.lax.scan(token, now, jnp.swapaxes(x[:, 7:], 0, 1))
        return jnp.concatenate([first, jnp.swapaxes(ys, 0, 1)], 1)

    whole, _ = jax.jit(layer.apply)(params, state, X)
    np.testing.assert_allclose(by_tokens(X), whole, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("way", WAYS)
def test_in_evaluation_the_memory_moves_and_the_state_stays(way):
    layer = nn.repeat(counting(6), 3, **WAYS[way])
    params, state = layer.init(jax.random.key(0))
    start = nn.joined(state, nn.memory(layer, 3))
    apply = jax.jit(layer.apply, static_argnames="train")
    rest, memory = nn.parted(apply(params, start, X)[1])
    chex.assert_trees_all_equal(rest, state)
    assert all(leaf.any() for leaf in jax.tree.leaves(memory))
    rest, trained = nn.parted(apply(params, start, X, train=True)[1])
    chex.assert_trees_all_close(trained, memory, rtol=1e-5)
    assert all(leaf.any() for leaf in jax.tree.leaves(rest))


@pytest.mark.parametrize("way", WAYS)
def test_the_gradient_by_the_memory_is_that_of_the_loop(way):
    plain, fast = (
        nn.repeat(nn.residual(nn.rnn(6, 6)), 2, **WAYS[one]) for one in ("unrolled", way)
    )
    params, _ = plain.init(jax.random.key(0))
    start = jax.tree.map(lambda leaf: leaf + 0.1, nn.memory(plain, 3))

    def gradient(layer):
        def loss(params, memory):
            return jnp.sum(layer.apply(params, memory, X)[0])

        return jax.jit(jax.grad(loss, (0, 1)))(params, start)

    chex.assert_trees_all_close(gradient(fast), gradient(plain), rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------- the trees


ARRAYS = st.sampled_from([np.ones(2), np.zeros((3, 1))])


def trees(leaf, depth=2):
    """Dicts of `leaf` by names that children have."""
    inner = leaf if depth == 1 else st.one_of(leaf, trees(leaf, depth - 1))
    return st.dictionaries(st.sampled_from("abc"), inner, min_size=1)


def states():
    """States of layers without memory."""
    return st.one_of(st.just(()), trees(st.fixed_dictionaries({"mean": ARRAYS})))


def memories():
    """What layers remember."""
    own = st.fixed_dictionaries({"memory": st.fixed_dictionaries({"h": ARRAYS})})
    return st.one_of(st.just(()), trees(own))


@given(states(), memories())
def test_parted_is_the_reverse_of_joined(state, memory):
    rest, found = nn.parted(nn.joined(state, memory))
    chex.assert_trees_all_equal(rest, state)
    chex.assert_trees_all_equal(found, memory)


def test_a_state_without_memory_is_parted_as_it_is():
    state = {"norm": {"mean": np.ones(2)}, "odd": {}}
    assert nn.parted(state) == (state, ())
    assert nn.parted(state)[0] is state


def test_a_memory_is_joined_once():
    layer = nn.serial(nn.rnn(6, 6))
    start = nn.memory(layer, 3)
    with pytest.raises(ValueError, match=r"holds a memory already; nn\.parted"):
        nn.joined(start, start)


def test_memory_by_path():
    layer = nn.serial(
        nn.linear(6, 6), nn.repeat(nn.rnn(6, 6), 2), nn.named("cache", causal_attention(6, 5))
    )
    assert jax.tree.map(jnp.shape, nn.memory(layer, 4)) == {
        "repeat1": {str(i): {"memory": {"h": (4, 6)}} for i in range(2)},
        "cache": {"memory": {"at": (4,), "key": (4, 5, 6), "value": (4, 5, 6)}},
    }
    assert nn.memory(nn.linear(6, 6), 4) == ()
    assert list(nn.memory(nn.rnn(6, 6), 4)) == ["memory"]


def test_begins_sets_rows_to_zero():
    memory = {"a": jnp.ones((3, 2)), "at": jnp.arange(1, 4)}
    new = restarted(memory, jnp.array([True, False, True]))
    np.testing.assert_array_equal(new["a"], [[0, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(new["at"], [0, 2, 0])
    assert restarted(memory, None) is memory


# -------------------------------------------------------------------------------------- refusals


def test_a_layer_of_which_no_windows_are_the_whole_is_named():
    layer = nn.serial(nn.rnn(8, 8), nn.named("block", nn.serial(nn.attention(8, 2))))
    with pytest.raises(ValueError, match="block/attention1 has no memory: it attends to what"):
        nn.memory(layer, 3)


def test_a_memory_has_a_row_for_each_sequence():
    odd = nn.make("odd", lambda key: ((), ()), lambda params, state, x, **_: (x, state))
    odd = odd._replace(
        info=dataclasses.replace(odd.info, memory=lambda batch: {"n": jnp.zeros(())})
    )
    with pytest.raises(ValueError, match=r"odd1 remembers \{n: \[\]\}, but every leaf has"):
        nn.memory(nn.serial(odd), 3)
    with pytest.raises(ValueError, match="memory needs batch ≥ 1"):
        nn.memory(odd, 0)


def test_nothing_else_can_be_called_memory():
    with pytest.raises(ValueError, match="no layer can be called 'memory'"):
        nn.named("memory", nn.linear(6, 6))
    with pytest.raises(ValueError, match="no layer can be called 'memory'"):
        nn.wire(lambda parts, x, *, key, train: x, memory=nn.linear(6, 6))


@pytest.mark.parametrize("rows", [1, 2])
def test_a_memory_of_another_batch_is_refused(rows):
    layer = nn.serial(nn.rnn(6, 6))
    params, _ = layer.init(jax.random.key(0))
    with pytest.raises((ValueError, TypeError)) as error:
        layer.apply(params, nn.memory(layer, rows), X)
    assert "in layer rnn1" in str(error.value.__notes__)


def test_the_memory_of_another_network_is_refused():
    layer = nn.serial(nn.rnn(6, 6))
    params, _ = layer.init(jax.random.key(0))
    foreign = {"rnn9": nn.memory(layer, 3)["rnn1"]}
    with pytest.raises(
        ValueError, match=r"serial: apply was given the state \{rnn9: .*gave back \(\)"
    ):
        layer.apply(params, foreign, X)


def test_a_part_that_remembers_is_called_once():
    def forward(parts, x, *, key, train):
        return parts.cell(x) + parts.cell(2 * x)

    layer = nn.wire(forward, cell=nn.rnn(6, 6))
    params, state = layer.init(jax.random.key(0))
    layer.apply(params, state, X)
    with pytest.raises(ValueError, match="part 'cell' is called twice, but remembers"):
        layer.apply(params, nn.memory(layer, 3), X)


def test_under_scan_all_blocks_remember_or_none():
    layer = nn.repeat(nn.residual(nn.rnn(6, 6)), 3, scan=True)
    params, _ = layer.init(jax.random.key(0))
    part = {"1": nn.memory(layer, 3)["1"]}
    with pytest.raises(ValueError, match="needs memory in all blocks or in none"):
        layer.apply(params, part, X)
    plain = nn.repeat(nn.residual(nn.rnn(6, 6)), 3, scan=False)
    assert list(plain.apply(params, part, X)[1]) == ["1"]
