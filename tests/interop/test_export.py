"""The exported artifact computes what the network does, in a process without dlcore."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import interop, models, nn
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
