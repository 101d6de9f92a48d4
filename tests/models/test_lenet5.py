from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import models, tree
from dlcore.models.lenet5_1998 import bitmap_distance, partial_conv, squash, subsample

# Section II.B: "The first six C3 feature maps take inputs from every contiguous subsets of three
# feature maps in S2. The next six take input from every contiguous subset of four. The next three
# take input from some discontinuous subsets of four. Finally the last one takes input from all."
SEEN = [
    *({first, (first + 1) % 6, (first + 2) % 6} for first in range(6)),
    *({(first + step) % 6 for step in range(4)} for first in range(6)),
    {0, 1, 3, 4},
    {1, 2, 4, 5},
    {0, 2, 3, 5},
    {0, 1, 2, 3, 4, 5},
]


@pytest.fixture(scope="module")
def params():
    """Those of the form of 1998, which do not depend on the size of the image."""
    return jax.jit(models.lenet5_1998().init)(jax.random.key(0))[0]


def images(*shape):
    return np.random.default_rng(0).random(shape).astype(np.float32)


def test_the_modern_form_equals_torch(torch):
    from tests.models.parity import assert_equal_to_torch, in_a_row

    layer = models.lenet5()
    network = in_a_row(
        layer,
        torch.nn.Conv2d(1, 6, 5, padding=2),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(6, 16, 5),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(400, 120),
        torch.nn.ReLU(),
        torch.nn.Linear(120, 84),
        torch.nn.ReLU(),
        torch.nn.Linear(84, 10),
    )
    assert_equal_to_torch(layer, network, images(4, 28, 28, 1))


def test_1998_has_the_60000_parameters_that_the_paper_counts():
    """LeCun et al. 1998, section II.B, layer by layer."""
    layer = models.lenet5_1998()
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    counts = {name: tree.count(part) for name, part in params.items()}
    assert counts == {
        "c1": 156,
        "s2": 12,
        "c3": 1_516,
        "s4": 32,
        "c5": 48_120,
        "f6": 10_164,
    }
    assert tree.count(params) == 60_000
    assert state == ()


def test_a_map_of_c3_sees_the_maps_of_table_1(params):
    c3 = dict(models.lenet5_1998().info.children)["c3"]
    x = images(1, 14, 14, 6)
    moved = [x + one for one in np.eye(6, dtype=np.float32)]
    y, *outputs = jax.jit(c3.apply)(params["c3"], (), np.concatenate([x, *moved]))[0]
    for source, output in enumerate(outputs):
        changed = np.abs(output - y).max((0, 1)) > 1e-3
        assert set(np.flatnonzero(changed)) == {i for i, maps in enumerate(SEEN) if source in maps}


def test_partial_conv_starts_each_map_by_the_number_that_it_sees():
    layer = partial_conv("#" * 8 + "\n" + ".." + "#" * 6, 30)
    kernel = np.asarray(layer.init(jax.random.key(0))[0]["kernel"])
    assert kernel.shape == (30, 30, 14)
    deviations = kernel.std((0, 1))
    wanted = [1 / 30] * 2 + [1 / np.sqrt(2 * 900)] * 12
    np.testing.assert_allclose(deviations, wanted, rtol=0.1)


def test_subsample_by_hand():
    layer = subsample(2)
    x = np.arange(16, dtype=np.float32).reshape(1, 2, 4, 2)
    params = {"scale": np.float32([0.5, -1.0]), "offset": np.float32([1.0, 2.0])}
    # map 0: 0 + 2 + 8 + 10 and 4 + 6 + 12 + 14; map 1 is 1 more in each of the four
    np.testing.assert_allclose(
        jax.jit(layer.apply)(params, (), x)[0], [[[[11.0, -22.0], [19.0, -38.0]]]], rtol=1e-6
    )


def test_squash_has_its_two_fixed_points():
    np.testing.assert_allclose(squash(np.float32([-1.0, 0.0, 1.0])), [-1, 0, 1], atol=1e-4)


def test_logits_are_the_negative_distances_to_ten_bitmaps_which_are_fixed():
    layer = bitmap_distance(10)
    assert layer.init(jax.random.key(0)) == ((), ())

    @jax.jit
    def logits(x):
        return layer.apply((), (), x)[0]

    origin = np.zeros((10, 84), np.float32)
    np.testing.assert_allclose(logits(origin), np.full((10, 10), -84.0), rtol=1e-6)
    # −Σ (x − w)² has the gradient 2w at the origin
    bitmaps = np.asarray(jax.jit(jax.jacobian(lambda x: logits(x[None])[0]))(origin[0])) / 2
    assert set(np.unique(bitmaps)) == {-1.0, 1.0}
    distances = -np.asarray(logits(bitmaps))
    np.testing.assert_array_equal(np.diag(distances), 0)
    assert np.sort(distances, axis=1)[:, 1].min() >= 40  # ten pixels, which count 2² each
    three, _ = jax.eval_shape(bitmap_distance(3).apply, (), (), origin)
    assert three.shape == (10, 3)


def test_an_image_of_28_is_padded_with_its_edge(params):
    small, large = models.lenet5_1998(), models.lenet5_1998((32, 32, 1))
    x = images(2, 28, 28, 1)
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    ours, wanted = (
        jax.jit(layer.apply)(params, (), one)[0] for layer, one in ((small, x), (large, padded))
    )
    np.testing.assert_allclose(ours, wanted, rtol=1e-5)


def test_1998_equals_torch(params, torch):
    """Where each map of C3 is a convolution of its own."""
    from tests.models.torch_classic import LeNet5

    layer = models.lenet5_1998((32, 32, 1))
    bitmaps = jax.jacobian(lambda x: bitmap_distance(10).apply((), (), x)[0])(jnp.zeros(84)) / 2
    network = LeNet5([sorted(maps) for maps in SEEN], np.array(bitmaps))

    # The kernels of C3 lie row by row of the table.
    pairs = [(source, target) for source in range(6) for target in range(16)]
    pairs = [(source, target) for source, target in pairs if source in SEEN[target]]

    def in_torch(params):
        """Our leaves under the network's names, in its layout."""
        named = {}
        for name in ("c1", "c5"):
            named[f"{name}.weight"] = params[name]["kernel"].transpose(3, 2, 0, 1)
        named["f6.weight"] = params["f6"]["kernel"].T
        for name in ("s2", "s4"):
            named[f"{name}.weight"] = params[name]["scale"][:, None, None]
            named[f"{name}.bias"] = params[name]["offset"][:, None, None]
        for name in ("c1", "c5", "f6"):
            named[f"{name}.bias"] = params[name]["bias"]
        for target in range(16):
            own = np.array([index for index, pair in enumerate(pairs) if pair[1] == target])
            kernel = params["c3"]["kernel"][:, :, own]
            named[f"c3.{target}.weight"] = kernel.transpose(2, 0, 1)[None]
            named[f"c3.{target}.bias"] = params["c3"]["bias"][target][None]
        return named

    with torch.no_grad():
        for name, value in in_torch(params).items():
            network.get_parameter(name).copy_(torch.tensor(np.array(value)))
    x, labels = images(3, 32, 32, 1), np.array([3, 1, 4])
    logits = network(torch.tensor(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(
        layer.apply(params, (), x)[0], logits.detach().numpy(), rtol=1e-4, atol=1e-4
    )

    def loss(params):
        scores = jax.nn.log_softmax(layer.apply(params, (), x)[0])
        return -jnp.mean(scores[np.arange(3), labels])

    torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).backward()
    gradients = in_torch(jax.jit(jax.grad(loss))(params))
    assert gradients.keys() == dict(network.named_parameters()).keys()
    for name, parameter in network.named_parameters():
        theirs = parameter.grad.numpy()
        atol = 1e-4 * max(1, abs(theirs).max())
        np.testing.assert_allclose(gradients[name], theirs, rtol=1e-4, atol=atol, err_msg=name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": [30, 30, 1]}, r"images of 28×28 or 32×32, got inputs=\[30, 30, 1\]"),
        ({"inputs": [28, 32, 1]}, "images of 28×28 or 32×32"),
        ({"inputs": [20, 20, 1]}, "28×28 at least"),
        ({"classes": 11}, "bitmaps for 10 classes, got classes=11"),
        ({"classes": 0}, "lenet5_1998 needs classes ≥ 1, got classes=0"),
        ({"classes": 3.0}, "lenet5_1998 takes an integer as classes, got 3.0"),
    ],
)
def test_1998_refuses(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        models.lenet5_1998(**arguments)
