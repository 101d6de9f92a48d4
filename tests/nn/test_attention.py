from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
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


# ---------------------------------------------------------------------- what else it can be told

SOURCE = np.random.default_rng(1).normal(size=(B, 7, 6)).astype(np.float32)
SOURCE_MASK = np.arange(7) < np.array([7, 3, 0])[:, None]
SETTINGS = {
    "causal": {},
    "window": {"window": 3},
    "rotary": {"rotary": 10_000},
    "alibi": {"alibi": True},
    "one head of keys": {"kv_heads": 1, "soft_cap": 2.0},
    "all": {"kv_heads": 2, "window": 4, "rotary": 100, "bias": False},
}
LEFT = np.arange(T) >= np.array([0, 2, 4])[:, None]  # padding before the first real step
PARTS = (slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 5))


def made(**settings):
    layer = nn.attention(FEATURES, 4, causal=True, context=9, **settings)
    return layer, layer.init(jax.random.key(1))[0], jax.jit(layer.apply)


@pytest.mark.parametrize("mask", [None, SOURCE_MASK], ids=["all", "masked"])
def test_a_source_is_torchs_keys_and_values(mask, torch):
    layer = nn.attention(FEATURES, HEADS, source=6, bias_init=nn.init.normal(0.5))
    params, _ = layer.init(jax.random.key(2))
    module = torch.nn.MultiheadAttention(FEATURES, HEADS, kdim=6, vdim=6, batch_first=True)
    parts = [params[name] for name in ("query", "key", "value")]
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    weights = {name: part["kernel"].T for name, part in zip(names, parts, strict=True)}
    weights["in_proj_bias"] = np.concatenate([part["bias"] for part in parts])
    weights["out_proj.weight"] = params["output"]["kernel"].T
    weights["out_proj.bias"] = params["output"]["bias"]
    module.load_state_dict({name: torch.tensor(np.array(one)) for name, one in weights.items()})
    source = torch.tensor(SOURCE)
    padding = None if mask is None else torch.tensor(~mask)
    expected, _ = module(torch.tensor(X), source, source, key_padding_mask=padding)
    side = {} if mask is None else {"source_mask": mask}
    y, _ = layer.apply(params, (), X, source=SOURCE, **side)
    rows = slice(None) if mask is None else slice(2)  # of nothing torch makes NaN
    np.testing.assert_allclose(y[rows], expected.detach().numpy()[rows], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(y[2], params["output"]["bias"][None].repeat(T, 0)) if side else None


@pytest.mark.parametrize("name", SETTINGS)
def test_a_memory_goes_on_where_it_ended(name):
    """A window, then step by step, as the whole; and so with padding on the left."""
    layer, params, apply = made(**SETTINGS[name])
    for mask in (None, LEFT):
        side = [{} if mask is None else {"mask": mask[:, part]} for part in PARTS]
        whole, _ = apply(params, (), X, **({} if mask is None else {"mask": mask}))
        state, ys = nn.memory(layer, B), []
        for part, own in zip(PARTS, side, strict=True):
            y, state = apply(params, state, X[:, part], **own)
            ys.append(y)
        real = np.ones((B, T), bool) if mask is None else mask
        np.testing.assert_allclose(
            np.concatenate(ys, 1)[real], np.asarray(whole)[real], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_array_equal(state["memory"]["at"], real.sum(1))


@pytest.mark.parametrize("name", SETTINGS)
def test_padding_on_the_left_changes_nothing(name):
    _, params, apply = made(**SETTINGS[name])
    y = np.asarray(apply(params, (), X, mask=LEFT)[0])
    for row, first in enumerate((0, 2, 4)):
        alone = np.asarray(apply(params, (), X[row : row + 1, first:])[0])
        np.testing.assert_allclose(y[row, first:], alone[0], rtol=1e-4, atol=1e-5)


def test_no_step_sees_what_follows_nor_what_lies_before_its_window():
    _, params, apply = made(window=2)

    def seen(x):
        return jnp.sum(apply(params, (), x)[0][0, 3])

    by_x = np.abs(jax.grad(seen)(X)[0]).sum(-1)
    np.testing.assert_array_equal(by_x > 0, [False, False, True, True, False])


def test_what_is_not_finite_in_padding_stays_there():
    _, params, apply = made()
    spoiled = np.where(LEFT[..., None], X, np.nan)

    @jax.jit
    def gradient(params, x):
        def loss(params):
            y, _ = apply(params, (), x, mask=LEFT)
            return jnp.sum(jnp.where(LEFT[..., None], y, 0) ** 2)

        return jax.grad(loss)(params)

    chex.assert_trees_all_close(gradient(params, spoiled), gradient(params, X), rtol=1e-5)


def test_dropout_drops_weights_in_training_alone():
    layer = nn.attention(FEATURES, HEADS, dropout=0.4)
    apply = jax.jit(functools.partial(layer.apply, train=True))
    keys = jax.random.split(jax.random.key(3), 2000)
    many = jax.vmap(lambda key: apply(PARAMS, (), X, key=key)[0])(keys)
    still, _ = LAYER.apply(PARAMS, (), X)
    np.testing.assert_allclose(layer.apply(PARAMS, (), X)[0], still, rtol=1e-5, atol=1e-6)
    error = np.abs(many.mean(0) - still) / (np.asarray(many).std(0) / np.sqrt(len(keys)))
    assert error.max() < 5, "the expectation is what it is without"
    with pytest.raises(ValueError, match="attention needs a key in training"):
        layer.apply(PARAMS, (), X, train=True)


def test_what_finds_no_room_is_refused_and_in_a_program_marked():
    layer, params, apply = made(rotary=100)
    _, state = apply(params, nn.memory(layer, B), X)
    with pytest.raises(
        ValueError, match="attention is made for 9 steps, got 5 after 5 that it has"
    ):
        layer.apply(params, state, X)
    y, _ = apply(params, state, X)
    np.testing.assert_array_equal(np.isnan(y).any(-1), [[False] * 4 + [True]] * B)
    with pytest.raises(ValueError, match="made for 9 steps, got 10"):
        layer.apply(params, (), np.ones((1, 10, FEATURES), np.float32))


def test_memory_is_refused_with_the_reason():
    for layer, message in (
        (nn.attention(8, 2), "attention has no memory: it attends to what follows"),
        (nn.attention(8, 2, causal=True), r"not told the longest sequence: attention\(…, context="),
    ):
        with pytest.raises(ValueError, match=message):
            nn.memory(layer, 2)
    assert nn.memory(nn.attention(8, 2, source=4), 2) == (), "a source is there at each step"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kv_heads": 3}, "needs heads that kv_heads divides, got heads=2, kv_heads=3"),
        ({"window": 0}, "attention needs window ≥ 1"),
        ({"soft_cap": 0.0}, "soft_cap is 0.0, but must exceed 0"),
        ({"rotary": float("inf")}, "rotary is inf, but its base is wanted: 10_000"),
        ({"rotary": 1.0}, "rotary is 1.0, but its base is wanted: 10_000"),
        ({"heads": 8, "rotary": 10_000}, "features / heads = 1: even is wanted"),
        ({"dropout": 1.0}, "attention: rate is 1.0"),
        (
            {"source": 4, "causal": True},
            "leave causal, window, rotary, alibi and context out, or source",
        ),
    ],
)
def test_refuses_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        nn.attention(**{"features": 8, "heads": 2, **settings})


def test_refuses_another_source():
    layer = nn.attention(FEATURES, HEADS, source=6)
    params, _ = layer.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"expected source \[3, S, 6\], got float32\[3, 5, 8\]"):
        layer.apply(params, (), X, source=X)
    with pytest.raises(TypeError, match="attention reads 'source', which was not given"):
        layer.apply(params, (), X)
    with pytest.raises(ValueError, match=r"expected source_mask \[B, T\] of x float32\[3, 7, 6\]"):
        layer.apply(params, (), X, source=SOURCE, source_mask=SOURCE_MASK[:, :5])
