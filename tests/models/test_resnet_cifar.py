from __future__ import annotations

import chex
import jax
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import interop, models, nn


def images(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@pytest.mark.parametrize(
    ("depth", "option", "parameters"),
    [
        # table 6 of the paper: 0.27, 0.46, 0.66, 0.85 and 1.7 million; to the unit those of
        # Y. Idelbayev's pytorch_resnet_cifar10, where option A has none of its own
        (20, "A", 269_722),
        pytest.param(32, "A", 464_154, marks=pytest.mark.slow),
        pytest.param(44, "A", 658_586, marks=pytest.mark.slow),
        (56, "A", 853_018),
        pytest.param(110, "A", 1_727_962, marks=pytest.mark.slow),
        (56, None, 853_018),
        # and 16·32 + 32·64 weights and 2·(32 + 64) of batch norm
        (20, "B", 269_722 + 2_752),
    ],
)
def test_as_deep_as_it_is_called_with_the_published_parameters(depth, option, parameters):
    summary = nn.summary(models.resnet_cifar(depth, option=option), (1, 32, 32, 3))
    assert summary.depth == depth
    assert summary.parameters == parameters


@pytest.mark.parametrize("option", ["A", "B", None])
def test_equals_torch(option, torch):
    from tests.models import torch_residual
    from tests.models.parity import assert_equal_to_torch

    network = torch_residual.moved(torch_residual.CifarResNet(1, option, 5))
    layer = models.resnet_cifar(8, (16, 12, 3), 5, option=option)
    assert_equal_to_torch(layer, network, images(4, 16, 12, 3))


@pytest.mark.slow
@pytest.mark.parametrize("option", ["A", "B", None])
def test_equals_torch_in_training(option, x64, torch):
    """In float64: in float32 some relu of so many is within rounding of 0 and takes either side."""
    from tests.models import torch_residual
    from tests.models.parity import assert_equal_to_torch

    network = torch_residual.moved(torch_residual.CifarResNet(3, option, 5))
    layer = models.resnet_cifar(20, (16, 16, 3), 5, option=option)
    assert_equal_to_torch(layer, network, images(8, 16, 16, 3, dtype=np.float64), train=True)


def test_the_running_variance_is_torchs_but_for_its_correction(torch):
    """torch's estimate of a batch is n/(n − 1) times ours, where n is how many values it is of."""
    from tests.models import torch_residual

    network = torch_residual.moved(torch_residual.CifarResNet(1, "A", 5)).train()
    layer = models.resnet_cifar(8, (8, 8, 3), 5)
    params, state = interop.from_torch(layer, network.state_dict())
    before = interop.to_torch(layer, params, state, numpy=True)
    x = images(4, 8, 8, 3)
    _, state = jax.jit(lambda params, state: layer.apply(params, state, x, train=True))(
        params, state
    )
    after = interop.to_torch(layer, params, state, numpy=True)
    with torch.no_grad():
        network(torch.tensor(x.transpose(0, 3, 1, 2).copy()))
    norms = [name for name in after if name.endswith("running_var")]
    assert len(norms) == 7
    for name in norms:
        n = len(x) * {"layer2": 4 * 4, "layer3": 2 * 2}.get(name.partition(".")[0], 8 * 8)
        theirs = network.state_dict()[name].numpy() - 0.9 * before[name]
        ours = after[name] - 0.9 * before[name]
        np.testing.assert_allclose(ours, theirs * (n - 1) / n, rtol=1e-4, atol=1e-5, err_msg=name)


def test_shortcut_a_is_every_second_pixel_between_zeros():
    layer = models.resnet_cifar(8, (8, 8, 3))
    _, skip = dict(dict(layer.info.children)["stage2"].info.children)["0"].info.children[1]
    x = images(2, 5, 4, 16)
    y, _ = jax.jit(skip.apply)((), (), x)
    assert y.shape == (2, 3, 2, 32)
    np.testing.assert_array_equal(y[..., 8:24], x[:, ::2, ::2])
    np.testing.assert_array_equal(y[..., :8], 0)
    np.testing.assert_array_equal(y[..., 24:], 0)


def test_the_plain_network_has_the_same_paths_and_no_shortcut():
    plain, residual = models.resnet_cifar(8, option=None), models.resnet_cifar(8)
    trees = [jax.eval_shape(layer.init, jax.random.key(0)) for layer in (plain, residual)]
    chex.assert_trees_all_equal_shapes(*trees)
    params, state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), trees[0])
    params["head"]["kernel"] += 1
    params["stem"]["batch_norm1"]["offset"] += 1
    x = images(1, 8, 8, 3)
    np.testing.assert_array_equal(jax.jit(plain.apply)(params, state, x)[0], 0)
    np.testing.assert_allclose(jax.jit(residual.apply)(params, state, x)[0], 16, rtol=1e-6)


def test_scanned_has_the_same_parameters():
    unrolled, scanned = (models.resnet_cifar(26, scan=scan) for scan in (False, True))
    trees = [jax.eval_shape(layer.init, jax.random.key(0)) for layer in (unrolled, scanned)]
    chex.assert_trees_all_equal(*trees)


@pytest.mark.slow
def test_scanned_computes_the_same(x64):
    """Logits, gradients and statistics, in training."""
    unrolled, scanned = (models.resnet_cifar(20, (8, 8, 3), 3, scan=scan) for scan in (False, True))
    x, labels = images(6, 8, 8, 3, dtype=np.float64), np.arange(6) % 3
    params, state = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64), unrolled.init(jax.random.key(0))
    )

    def results(layer):
        def loss(params):
            logits, new_state = layer.apply(params, state, x, train=True)
            return F.cross_entropy(logits, labels), (logits, new_state)

        return jax.jit(jax.grad(loss, has_aux=True))(params)

    chex.assert_trees_all_close(results(unrolled), results(scanned), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 18}, r"has depths 6n \+ 2 \(8, 14, 20, …, 1202\), got depth=18"),
        ({"depth": 20.0}, "takes an integer as depth, got 20.0"),
        ({"depth": 1208}, "got depth=1208"),
        ({"depth": 2}, "got depth=2"),
        ({"option": "C"}, 'option is \'C\', but "A", "B" or None is wanted'),
        ({"inputs": 32}, r"resnet_cifar needs inputs \(height, width, channels\)"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        models.resnet_cifar(**arguments)
