"""Models that tell what comes next."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import interop, models, nn, optim, train, tree

V = 5
SMALL = {
    "rnn_lm": {"features": 4, "hidden": 16},
    "lstm_lm": {"features": 4, "hidden": 16, "layers": 2, "dropout": 0.1},
    "gru_lm": {"features": 4, "hidden": 16},
    "gpt": {"context": 12, "features": 16, "heads": 2, "layers": 2, "dropout": 0.1},
}


def small(name):
    return models.build(name, vocabulary=V, **SMALL[name])


@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        # 65·64 + 64·256 + 256·256 + 256 + 256·65 + 65
        ("rnn_lm", {}, 103_041),
        # 65·64 + 64·1024 + 256·1024 + 1024 + 256·65 + 65
        ("lstm_lm", {}, 349_569),
        # 65·64 + 64·768 + 256·768 + 768 + 256 + 256·65 + 65
        ("gru_lm", {}, 267_649),
        ("gpt", {}, 124_439_808),  # as OpenAI's model card counts
        ("gpt", {"features": 1024, "heads": 16, "layers": 24}, 354_823_168),
    ],
)
def test_counts(name, arguments, count):
    layer = models.build(name, **arguments)
    assert tree.count(jax.eval_shape(layer.init, jax.random.key(0))[0]) == count


@pytest.mark.parametrize("name", SMALL)
def test_learns_what_follows(name):
    """A text that repeats itself; perplexity is exp of the loss."""
    layer = small(name)
    text = np.tile([0, 1, 2, 0, 3, 4, 1], 8)[None]
    batch = {"x": text[:, :12].astype(np.int32), "y": text[:, 1:13].astype(np.int32)}
    measured = {"perplexity": train.metrics.perplexity}
    objective = train.classification(layer, metrics=measured)
    optimizer = optim.adam(1e-2)
    step = jax.jit(train.make_step(objective, optimizer))
    state = train.train_state(layer, optimizer, seed=0)
    for _ in range(200):
        state, _ = step(state, batch)
    numbers = train.evaluate(objective, state.params, state.state, batch)
    assert numbers["loss"] < 0.3  # of ln 5 = 1.61
    np.testing.assert_allclose(numbers["perplexity"], np.exp(numbers["loss"]), rtol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_windows_with_memory_are_the_whole(name):
    layer = small(name)
    params, state = layer.init(jax.random.key(0))
    x = np.random.default_rng(0).integers(0, V, (2, 10)).astype(np.int32)
    apply = jax.jit(layer.apply)
    whole, _ = apply(params, state, x)
    first, now = apply(params, nn.joined(state, nn.memory(layer, 2)), x[:, :5])
    second, _ = apply(params, now, x[:, 5:])
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "layers", "dropout"), [("gru", 1, 0.0), ("lstm", 2, 0.0), ("lstm", 2, 0.3)]
)
def test_the_product_of_the_table_is_that_of_its_rows(name, layers, dropout):
    """Beside the plain form: with fewer tokens than the vocabulary has, and with more."""
    settings = {"layers": layers, "dropout": dropout}
    layer = models.build(f"{name}_lm", vocabulary=V, features=4, hidden=6, **settings)
    inner = {"layers": layers, "dropout": dropout if layers > 1 else 0.0}
    dropped = [nn.dropout(dropout)] if dropout else []
    plain = nn.serial(
        nn.embedding(V, 4),
        *dropped,
        nn.named("recurrent", getattr(nn, name)(4, 6, **inner)),
        *dropped,
        nn.named("head", nn.linear(6, V)),
    )
    params, state = jax.jit(layer.init)(jax.random.key(0))
    rng = np.random.default_rng(0)

    @jax.jit
    def both(params, x, mask):
        def loss(params, layer):
            y, _ = layer.apply(params, state, x, key=jax.random.key(1), train=True, mask=mask)
            return jnp.sum(jnp.where(mask[..., None], y, 0.0) ** 2), y

        return [jax.grad(loss, has_aux=True)(params, one) for one in (layer, plain)]

    for shape in ((1, 4), (3, 8)):
        x, mask = rng.integers(0, V, shape).astype(np.int32), np.arange(shape[1]) < 3
        (slope, y), (expected_slope, expected) = both(params, x, np.broadcast_to(mask, shape))
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_close(slope, expected_slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_a_file_is_enough(name, tmp_path):
    layer = small(name)
    params, state = layer.init(jax.random.key(0))
    models.save(tmp_path / "m.safetensors", layer, params, state, {"tokens": [*"abcde"]})
    rebuilt, *_ = models.load(tmp_path / "m.safetensors")
    assert repr(rebuilt) == repr(layer)


def test_gpts_start_is_gpt2s():
    layer = models.gpt(200, 32, features=64, heads=4, layers=8)
    params, _ = jax.device_get(layer.init(jax.random.key(0)))
    block = params["blocks"]["3"]
    stds = {
        "embedding": params["embedding"]["embedding"],
        "up": block["mlp"]["body"]["linear1"]["kernel"],
        "query": block["attention"]["body"]["attention1"]["query"]["kernel"],
    }
    for name, kernel in stds.items():
        np.testing.assert_allclose(kernel.std(), 0.02, rtol=0.06, err_msg=name)
    for last in (
        block["mlp"]["body"]["linear2"]["kernel"],
        block["attention"]["body"]["attention1"]["output"]["kernel"],
    ):
        np.testing.assert_allclose(last.std(), 0.02 / 4, rtol=0.06)


def test_gpts_first_loss_is_that_of_chance():
    """Of what it was not given: the head knows a token that it reads by its own vector."""
    layer = models.gpt(100, 16, features=32, heads=2, layers=2)
    params, state = jax.jit(layer.init)(jax.random.key(0))
    x = np.random.default_rng(0).integers(0, 100, (2, 4, 16)).astype(np.int32)
    loss = jax.jit(lambda x, y: F.cross_entropy(layer.apply(params, state, x)[0], y))(*x)
    np.testing.assert_allclose(loss, np.log(100), atol=0.1)


def test_the_head_is_the_table():
    """Its gradient comes from both ends, and freezing the table holds both."""
    layer = models.gpt(V, 4, features=8, heads=2, layers=1)
    batch = {"x": np.array([[0, 1, 2, 0]], np.int32), "y": np.array([[1, 2, 0, 1]], np.int32)}

    def moved(layer):
        state = train.train_state(layer, optim.sgd(1.0), seed=0)
        step = train.make_step(train.classification(layer), optim.sgd(1.0))
        after, _ = jax.jit(step)(state, batch)
        tables = (one.params["embedding"]["embedding"] for one in (state, after))
        return np.abs(np.subtract(*map(np.asarray, tables))).sum(-1)

    assert (moved(layer)[3:] > 0).all(), "of tokens that were not read, by the head"
    assert not moved(nn.freeze(layer, "embedding/**")).any()


# ------------------------------------------------------------------------------ GPT-2's weights


def torch_gpt2(torch, weights, x, heads):
    """GPT-2 as transformers has it, of a state dict: Conv1D's y = x · weight + bias."""
    functional = torch.nn.functional

    def conv1d(name, h):
        return h @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def norm(name, h):
        return functional.layer_norm(
            h, h.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5
        )

    h = weights["wte.weight"][x] + weights["wpe.weight"][: x.shape[1]]
    for i in range(2):
        qkv = conv1d(f"h.{i}.attn.c_attn", norm(f"h.{i}.ln_1", h))
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + conv1d(f"h.{i}.attn.c_proj", y.transpose(1, 2).flatten(2))
        up = functional.gelu(conv1d(f"h.{i}.mlp.c_fc", norm(f"h.{i}.ln_2", h)), approximate="tanh")
        h = h + conv1d(f"h.{i}.mlp.c_proj", up)
    return norm("ln_f", h) @ weights["wte.weight"].T


def gpt2_weights(features=16, vocabulary=11, context=8):
    """A state dict with GPT-2's names and shapes."""
    rng = np.random.default_rng(0)
    sizes = {"wte.weight": (vocabulary, features), "wpe.weight": (context, features)}
    kernels = {
        "attn.c_attn": (features, 3 * features),
        "attn.c_proj": (features, features),
        "mlp.c_fc": (features, 4 * features),
        "mlp.c_proj": (4 * features, features),
    }
    for i in range(2):
        for name, (inside, out) in kernels.items():
            sizes[f"h.{i}.{name}.weight"] = (inside, out)
            sizes[f"h.{i}.{name}.bias"] = (out,)
    for name in ("ln_f", *(f"h.{i}.ln_{k}" for i in range(2) for k in (1, 2))):
        sizes |= {f"{name}.weight": (features,), f"{name}.bias": (features,)}
    return {name: rng.normal(0, 0.3, size).astype(np.float32) for name, size in sizes.items()}


GPT2 = models.gpt(11, 8, features=16, heads=4, layers=2)


def test_gpt2s_state_dict_gives_gpt2s_logits(torch):
    weights = gpt2_weights()
    params, state = interop.from_torch(GPT2, weights)
    x = np.random.default_rng(1).integers(0, 11, (3, 8))
    tensors = {name: torch.tensor(one) for name, one in weights.items()}
    expected = torch_gpt2(torch, tensors, torch.tensor(x), heads=4)
    logits, _ = GPT2.apply(params, state, x.astype(np.int32))
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_gpt2s_state_dict_comes_in_and_goes_back():
    weights = gpt2_weights()
    params, state = interop.from_torch(GPT2, weights)
    back = interop.to_torch(GPT2, params, state, numpy=True)
    assert back.keys() == weights.keys()
    for name, one in weights.items():
        np.testing.assert_array_equal(back[name], one, err_msg=name)
    kernel = weights["h.1.attn.c_attn.weight"]
    attention = params["blocks"]["1"]["attention"]["body"]["attention1"]
    np.testing.assert_array_equal(attention["key"]["kernel"], kernel[:, 16:32])


def test_a_head_buffers_and_a_prefix_are_understood():
    """As transformers' GPT2LMHeadModel has them."""
    weights = gpt2_weights()
    whole = {f"transformer.{name}": one for name, one in weights.items()}
    whole["transformer.h.0.attn.bias"] = np.tril(np.ones((1, 1, 8, 8), bool))
    whole["transformer.h.0.attn.masked_bias"] = np.float32(-1e4)
    whole["lm_head.weight"] = weights["wte.weight"]
    found, _ = interop.from_torch(GPT2, whole)
    wanted, _ = interop.from_torch(GPT2, weights)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
