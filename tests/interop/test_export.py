"""The exported artifact computes what the network does, in a process without dlcore."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import generate, interop, models, nn
from dlcore.interop.weights import WeightsError
from tests.cells import masked_mean

# sys.modules[name] = None is an import that fails.
PROGRAM = """
import pathlib, sys
sys.modules["dlcore"] = None
import jax.export, numpy as np
network = jax.export.deserialize(pathlib.Path("network").read_bytes())
for size in (1, 5):
    np.save(f"y{size}.npy", network.call(np.load(f"x{size}.npy")))
"""


def network():
    """In all forms."""
    block = nn.serial(nn.linear(6, 6), F.tanh, nn.dropout(0.5))
    return nn.serial(
        nn.conv(3, 6, 3, padding="SAME"),
        nn.batch_norm(6),
        nn.residual(nn.conv(6, 6, 1)),
        nn.concat(nn.max_pool(2), nn.avg_pool(2)),
        nn.flatten,
        nn.linear(48, 6),
        nn.repeat(block, 3, scan=True),
    )


def test_it_runs_without_dlcore_for_any_batch(tmp_path):
    layer, rng = network(), np.random.default_rng(0)
    params, state = layer.init(jax.random.key(0))
    interop.export(layer, params, state, (None, 4, 4, 3), tmp_path / "network")
    expected = {}
    for size in (1, 5):
        x = rng.normal(size=(size, 4, 4, 3)).astype(np.float32)
        np.save(tmp_path / f"x{size}.npy", x)
        expected[tmp_path / f"y{size}.npy"] = jax.jit(layer.apply)(params, state, x)[0]
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for path, y in expected.items():
        np.testing.assert_allclose(np.load(path), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("option", ["A", pytest.param("B", marks=pytest.mark.slow)])
def test_a_network_without_a_size_of_its_own_takes_images_of_any(option, tmp_path):
    """The sizes of body and shortcut are expressions in H and W, and have to be seen as equal."""
    from jax import export

    layer = models.resnet_cifar(8, (8, 8, 3), 3, option=option)
    params, state = layer.init(jax.random.key(0))
    interop.export(layer, params, state, (None, None, None, 3), tmp_path / "n")
    network = export.deserialize((tmp_path / "n").read_bytes())
    for shape in ((1, 8, 8, 3), (2, 5, 6, 3)):
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        y, _ = jax.jit(layer.apply)(params, state, x)
        np.testing.assert_allclose(network.call(x), y, rtol=1e-4, atol=1e-5)


def test_its_platforms_and_shapes(tmp_path):
    from jax import export

    interop.export(nn.as_layer(F.relu), (), (), (3, 4), tmp_path / "n", dtype=jnp.bfloat16)
    network = export.deserialize((tmp_path / "n").read_bytes())
    assert network.platforms == ("cpu", "cuda", "tpu")
    (x,) = network.in_avals
    assert (x.shape, x.dtype) == ((3, 4), jnp.bfloat16)


def test_refuses(tmp_path):
    layer = nn.linear(4, 2)
    params, state = layer.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"linear expected \[..., 4\], got float32\[n0, 5\]"):
        interop.export(layer, params, state, (None, 5), tmp_path / "network")
    with pytest.raises(WeightsError, match=r"none/n: cannot be written \(No such file"):
        interop.export(layer, params, state, (None, 4), tmp_path / "none" / "n")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_side_inputs_are_called_by_name(tmp_path):
    from jax import export

    layer = nn.serial(nn.attention(4, 2), masked_mean)
    params, state = layer.init(jax.random.key(0))
    form = ((None, None), jnp.bool_)
    interop.export(layer, params, state, (None, None, 4), tmp_path / "n", mask=form)
    network = export.deserialize((tmp_path / "n").read_bytes())
    for shape in ((1, 3, 4), (2, 5, 4)):
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        mask = np.arange(shape[1]) < np.arange(1, shape[0] + 1)[:, None]
        expected, _ = layer.apply(params, state, x, mask=mask)
        np.testing.assert_allclose(network.call(x, mask=mask), expected, rtol=1e-4, atol=1e-5)
    loaded = interop.from_stablehlo(tmp_path / "n")
    expected, _ = layer.apply(params, state, x, mask=np.ones_like(mask))
    np.testing.assert_allclose(loaded.apply((), (), x)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        models.gpt(5, 8, features=8, heads=2, layers=1),
        nn.serial(nn.embedding(5, 4), nn.lstm(4, 3, bidirectional=True)),
        nn.serial(nn.embedding(5, 4), nn.recurrent(nn.gru_cell(4, 4)), nn.sinusoidal(4)),
    ],
    ids=["gpt", "lstm", "recurrent"],
)
def test_sequences_of_any_length(layer, tmp_path):
    from jax import export

    params, state = jax.jit(layer.init)(jax.random.key(0))
    interop.export(layer, params, state, (None, None), tmp_path / "n", dtype=jnp.int32)
    network = export.deserialize((tmp_path / "n").read_bytes())
    apply = jax.jit(layer.apply)
    for shape in ((1, 3), (2, 6)):
        x = np.random.default_rng(0).integers(0, 5, shape).astype(np.int32)
        expected, _ = apply(params, state, x)
        found = jax.tree.leaves(network.call(x))
        for one, other in zip(found, jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------ generation

MASK = np.array([[False, False, True, True], [True] * 4])
PROMPT = np.random.default_rng(0).integers(0, 5, (2, 4)).astype(np.int32)
GREEDY = """
import pathlib, sys
sys.modules["dlcore"] = None
import jax, jax.export, numpy as np
network = jax.export.deserialize(pathlib.Path("network").read_bytes())
token = np.load("prompt.npy")
(_, like), _ = jax.tree.unflatten(network.in_tree, network.in_avals)
memory = jax.tree.map(lambda leaf: np.zeros((len(token), *leaf.shape[1:]), leaf.dtype), like)
tokens = []
for _ in range(4):
    logits, memory = network.call(token, memory)
    token = np.argmax(logits[:, -1:], -1).astype(np.int32)
    tokens.append(token)
np.save("tokens.npy", np.concatenate(tokens, 1))
"""


def language_model(name):
    """One that is sure of what it says."""
    settings = {"gpt": {"context": 8, "heads": 2, "layers": 2}, "lstm_lm": {"hidden": 6}}[name]
    layer = models.build(name, vocabulary=5, features=8, **settings)
    params, state = jax.jit(layer.init)(jax.random.key(0))
    return layer, jax.tree.map(lambda leaf: np.asarray(leaf) * 10, params), state


@pytest.mark.parametrize(
    ("name", "side"),
    [("lstm_lm", {}), pytest.param("gpt", {"mask": MASK}, marks=pytest.mark.slow)],
)
def test_a_file_writes_the_text_that_the_network_writes(name, side, tmp_path):
    layer, params, state = language_model(name)
    forms = dict.fromkeys(side, ((None, None), bool))
    every = {"dtype": jnp.int32, "memory": True, **forms}
    interop.export(layer, params, state, (None, None), tmp_path / "network", **every)
    loaded = interop.from_stablehlo(tmp_path / "network")
    how = {"key": jax.random.key(1), **side}
    expected = generate.sample(layer, params, state, PROMPT, 5, **how)
    found = generate.sample(loaded, (), (), PROMPT, 5, **how)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_allclose(found.log_probabilities, expected.log_probabilities, atol=1e-4)


@pytest.mark.slow
def test_it_is_written_without_dlcore_token_by_token(tmp_path):
    layer, params, state = language_model("gpt")
    interop.export(
        layer, params, state, (None, None), tmp_path / "network", dtype=jnp.int32, memory=True
    )
    np.save(tmp_path / "prompt.npy", PROMPT)
    command = [sys.executable, "-W", "error", "-c", GREEDY]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    expected = generate.sample(layer, params, state, PROMPT, 4, temperature=0)
    np.testing.assert_array_equal(np.load(tmp_path / "tokens.npy"), expected.tokens)


def test_what_a_file_cannot_do_is_told(tmp_path):
    from jax import export

    layer, params, state = language_model("gpt")
    path, given = tmp_path / "gpt", (layer, params, state, (None, None))
    interop.export(*given, path, dtype=jnp.int32, memory=True)
    loaded = interop.from_stablehlo(path)
    wanted = r"gpt was exported for int32\[n0, n1_to_8\], got int32\[2, 9\]"
    with pytest.raises(ValueError, match=wanted):
        generate.sample(loaded, (), (), PROMPT, 6, temperature=0)
    with pytest.raises(ValueError, match=r"gpt was exported for .*, got float32\[2, 4\]"):
        loaded.apply((), (), PROMPT.astype(np.float32))
    interop.export(*given, path, dtype=jnp.int32)
    alone = export.deserialize(path.read_bytes())
    with pytest.raises(ValueError, match="refining shapes"):  # by jax alone
        alone.call(np.zeros((1, 9), np.int32))
    with pytest.raises(ValueError, match=r"was exported without one: export\(…, memory=True\)"):
        generate.sample(interop.from_stablehlo(path), (), (), PROMPT, 2, temperature=0)
    with pytest.raises(ValueError, match="linear remembers nothing: leave memory=True out"):
        interop.export(nn.linear(4, 2), {}, (), (None, 4), path, memory=True)
    across = nn.serial(lambda x, *, source: x + source)
    interop.export(across, (), (), (None,), path, source=((None,), jnp.float32))
    with pytest.raises(TypeError, match="gpt reads 'source', which was not given"):
        interop.from_stablehlo(path).apply((), (), np.ones(2, np.float32))
    for content in (b"", b"no file of ours, but a text", path.read_bytes()[:1000]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"gpt: is no network of interop\.export"):
            interop.from_stablehlo(path)
    with pytest.raises(WeightsError, match="none: cannot be read"):
        interop.from_stablehlo(tmp_path / "none")
