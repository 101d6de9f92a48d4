from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from dlcore import interop, models, nn, tree
from dlcore.models import inception


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def shapes(layer):
    return jax.eval_shape(layer.init, jax.random.key(0))


@functools.cache
def summary(side, **arguments):
    return nn.summary(models.googlenet((side, side, 3), **arguments), (1, side, side, 3))


def maps(side, **arguments):
    """The outputs by path."""
    return {row.path: row.output for row in summary(side, **arguments).rows}


def train_apply(layer):
    """One application in training as a function of (params, state, x)."""
    return lambda params, state, x: layer.apply(params, state, x, key=jax.random.key(1), train=True)


@pytest.mark.parametrize(
    ("batch_norm", "auxiliary", "parameters"),
    [
        # torchvision's googlenet: num_params of the weights, and of GoogLeNet() as it is made
        (True, False, 6_624_904),
        (True, True, 13_004_888),
        # Caffe's bvlc_googlenet without and with its two heads
        (False, False, 6_998_552),
        (False, True, 13_378_280),
    ],
)
def test_parameters_are_the_published_ones(batch_norm, auxiliary, parameters):
    layer = models.googlenet(batch_norm=batch_norm, auxiliary=auxiliary)
    assert tree.count(shapes(layer)[0]) == parameters


@pytest.mark.parametrize("batch_norm", [True, False])
def test_22_layers_and_27_with_the_poolings_between_them(batch_norm):
    """Section 5: "22 layers deep when counting only layers with parameters (or 27 …)"."""
    table = summary(224, batch_norm=batch_norm)
    assert table.depth == 22
    poolings = [row for row in table.rows if "pool" in row.layer and "branch" not in row.path]
    assert table.depth + len(poolings) == 27


def test_maps_are_those_of_table_1():
    outputs = maps(224, batch_norm=False)
    assert outputs["stem/conv1"] == "[1, 112, 112, 64]"
    assert outputs["stem/max_pool1"] == "[1, 56, 56, 64]"
    assert outputs["stem/max_pool2"] == "[1, 28, 28, 192]"
    assert outputs["pool3"] == "[1, 14, 14, 480]"
    assert outputs["pool4"] == "[1, 7, 7, 832]"
    assert outputs["pool5"] == "[1, 1024]"


def test_inception_joins_four_branches():
    layer = inception(8, 1, 2, 3, 4, 5, 6)
    params, state = shapes(layer)
    y, _ = jax.eval_shape(layer.apply, params, state, images(2, 7, 5, 8))
    assert y.shape == (2, 7, 5, 1 + 3 + 5 + 6)
    assert list(params) == ["branch1", "branch2", "branch3", "branch4"]
    assert params["branch3"]["conv2"]["kernel"].shape == (3, 3, 4, 5)
    plain, _ = shapes(inception(8, 1, 2, 3, 4, 5, 6, batch_norm=False))
    assert plain["branch3"]["conv2"]["kernel"].shape == (5, 5, 4, 5)


@functools.cache
def with_heads():
    layer = models.googlenet((16, 16, 3), 5, auxiliary=True, width=8)
    rng = np.random.default_rng(1)
    return layer, *jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32) / 10, shapes(layer))


def trunk(tree):
    return {name: part for name, part in tree.items() if name not in ("aux1", "aux2")}


def test_auxiliary_heads_speak_in_training_alone():
    layer, params, state = with_heads()
    x = images(2, 16, 16, 3)
    outputs, new_state = jax.eval_shape(train_apply(layer), params, state, x)
    assert [one.shape for one in outputs] == [(2, 5)] * 3
    assert jax.tree.structure(state) == jax.tree.structure(new_state)
    assert jax.eval_shape(layer.apply, params, state, x)[0].shape == (2, 5)


def test_what_has_no_heads_has_the_same_paths():
    _, params, state = with_heads()
    plain = models.googlenet((16, 16, 3), 5, width=8)
    assert jax.tree.structure((trunk(params), trunk(state))) == jax.tree.structure(shapes(plain))


@pytest.mark.slow
def test_the_weights_without_the_heads_give_the_same_logits():
    layer, params, state = with_heads()
    plain = models.googlenet((16, 16, 3), 5, width=8)
    x = images(2, 16, 16, 3)
    logits, _ = jax.jit(layer.apply)(params, state, x)
    without, _ = jax.jit(plain.apply)(trunk(params), trunk(state), x)
    np.testing.assert_allclose(without, logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "least"),
    [
        ({}, 15),  # as torchvision's
        ({"auxiliary": True}, 15),
        ({"batch_norm": False}, 31),
        ({"batch_norm": False, "auxiliary": True}, 79),
        ({"small": True}, 4),
        ({"small": True, "batch_norm": False}, 8),
        ({"small": True, "batch_norm": False, "auxiliary": True}, 20),
    ],
)
def test_takes_images_down_to_the_least_size(arguments, least):
    assert logits_of((least, least, 3), **arguments) == {(2, 5)}
    with pytest.raises(ValueError, match=f"googlenet needs inputs .* of {least}×{least} at least"):
        models.googlenet((least, least - 1, 3), **arguments)


@pytest.mark.parametrize(
    ("arguments", "sides"),
    [
        ({}, (30, 15)),
        ({"batch_norm": False}, (158, 79)),
        ({"small": True, "batch_norm": False}, (40, 20)),
    ],
)
def test_the_heads_take_images_that_are_no_square(arguments, sides):
    """They alone have a size of their own: the trunk ends in an average."""
    assert logits_of((*sides, 3), auxiliary=True, **arguments) == {(2, 5)}


def logits_of(inputs, **arguments):
    """The shapes of all the logits in training, of two images and five classes."""
    layer = models.googlenet(inputs, 5, width=8, **arguments)
    x = jax.ShapeDtypeStruct((2, *inputs), np.float32)
    outputs, _ = jax.eval_shape(train_apply(layer), *shapes(layer), x)
    return {one.shape for one in jax.tree.leaves(outputs)}


@pytest.mark.slow
def test_of_a_small_image_the_blocks_see_half():
    outputs = maps(32, small=True)
    assert outputs["stem/max_pool1"] == "[1, 16, 16, 192]"
    assert outputs["pool4"] == "[1, 4, 4, 832]"


def test_width_is_a_scale():
    params, _ = shapes(models.googlenet(width=16))
    assert params["stem"]["conv3"]["kernel"].shape == (3, 3, 16, 48)
    assert params["head"]["kernel"].shape == (256, 1000)
    assert all(leaf.size for leaf in jax.tree.leaves(shapes(models.googlenet(width=4))))


@pytest.mark.parametrize("width", [3, 0, -64])
def test_a_width_that_leaves_no_channels_is_refused(width):
    with pytest.raises(ValueError, match=f"googlenet needs width ≥ 4, .* got width={width}"):
        models.googlenet(width=width)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_inception_equals_torch(batch_norm, torch):
    from tests.models.parity import assert_equal_to_torch
    from tests.models.torch_classic import Inception

    row = (4, 3, 5, 2, 6, 7)
    layer = nn.serial(
        nn.named("block", inception(8, *row, batch_norm=batch_norm)),
        nn.global_avg_pool,
        nn.named("head", nn.linear(22, 3)),
    )
    network = torch.nn.Sequential()
    network.add_module("block", Inception(8, *row, batch_norm))
    network.add_module("mean", torch.nn.AdaptiveAvgPool2d(1))
    network.add_module("flat", torch.nn.Flatten())
    network.add_module("fc", torch.nn.Linear(22, 3))
    names = interop.torch_names.NAMES["googlenet"]
    assert_equal_to_torch(layer, network, images(3, 6, 5, 8), train=batch_norm, names=names)


CASES = {
    "evaluation": ((48, 40, 3), {}, {}, False),
    "training": ((48, 40, 3), {}, {}, True),
    "small images": ((24, 32, 3), {"small": True}, {}, True),
    "the paper's form": ((128, 80, 3), {"batch_norm": False}, {"size": (2, 1)}, True),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_equals_torch(case, request, torch):
    """In training in float64: there a relu or a maximum that rounding turns moves the gradient."""
    from tests.models.parity import assert_equal_to_torch
    from tests.models.torch_classic import GoogLeNet

    inputs, arguments, theirs, train = CASES[case]
    layer = models.googlenet(inputs, 5, auxiliary=True, width=16, **arguments)
    network = GoogLeNet(5, width=16, **arguments, **theirs)
    x = images(4, *inputs)
    if train:
        request.getfixturevalue("x64")
        x = x.astype(np.float64)
    assert_equal_to_torch(layer, network, x, train=train)
