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

# sys.modules[name] = None is an import that fails.
PROGRAM = """
import pathlib, sys
sys.modules["dlcore"] = None
import jax.export, numpy as np
for folder in map(pathlib.Path, sys.argv[1:]):
    network = jax.export.deserialize((folder / "network").read_bytes())
    for size in (1, 5):
        np.save(folder / f"y{size}.npy", network.call(np.load(folder / f"x{size}.npy")))
"""


def block():
    return nn.serial(nn.linear(6, 6), F.tanh, nn.dropout(0.5))


NETWORKS = {
    "lenet5": (models.lenet5, (28, 28, 1)),
    "in all forms": (
        lambda: nn.serial(
            nn.conv(3, 6, 3, padding="SAME"),
            nn.batch_norm(6),
            nn.residual(nn.conv(6, 6, 1)),
            nn.concat(nn.max_pool(2), nn.avg_pool(2)),
            nn.flatten,
            nn.linear(48, 6),
            nn.repeat(block(), 3, scan=True),
        ),
        (4, 4, 3),
    ),
}


def test_it_runs_without_dlcore_for_any_batch(tmp_path):
    rng = np.random.default_rng(0)
    expected = {}
    for name, (make, shape) in NETWORKS.items():
        layer, folder = make(), tmp_path / name
        folder.mkdir()
        params, state = layer.init(jax.random.key(0))
        interop.export(layer, params, state, (None, *shape), folder / "network")
        for size in (1, 5):
            x = rng.normal(size=(size, *shape)).astype(np.float32)
            np.save(folder / f"x{size}.npy", x)
            expected[folder / f"y{size}.npy"] = jax.jit(layer.apply)(params, state, x)[0]
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        PROGRAM,
        *(tmp_path / name for name in NETWORKS),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for path, y in expected.items():
        np.testing.assert_allclose(np.load(path), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("option", ["A", "B"])
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
