from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import models, nn


@pytest.mark.parametrize(
    ("depth", "batch_norm", "parameters"),
    [
        # torchvision's num_params; table 2 of the paper says 133, 133, 138 and 144 million
        (11, False, 132_863_336),
        (13, False, 133_047_848),
        (16, False, 138_357_544),
        (19, False, 143_667_240),
        (11, True, 132_868_840),
        (13, True, 133_053_736),
        (16, True, 138_365_992),
        (19, True, 143_678_248),
    ],
)
def test_as_deep_as_it_is_called_with_the_published_parameters(depth, batch_norm, parameters):
    summary = nn.summary(models.vgg(depth, batch_norm=batch_norm), (1, 224, 224, 3))
    assert summary.depth == depth
    assert summary.parameters == parameters
    outputs = {row.path: row.output for row in summary.rows}
    assert outputs["features/max_pool5"] == "[1, 7, 7, 512]"
    assert outputs["classifier/linear3"] == "[1, 1000]"


@pytest.mark.parametrize(
    ("depth", "batch_norm", "train"),
    [
        (11, False, False),
        (13, True, True),
        pytest.param(16, True, False, marks=pytest.mark.slow),
        pytest.param(19, False, True, marks=pytest.mark.slow),
    ],
)
def test_equals_torch(depth, batch_norm, train, request, torch):
    """In training in float64: there a relu or a maximum that rounding turns moves the gradient."""
    from tests.models.parity import assert_equal_to_torch
    from tests.models.torch_classic import VGG

    x = np.random.default_rng(0).normal(size=(4, 64, 32, 3)).astype(np.float32)
    if train:
        request.getfixturevalue("x64")
        x = x.astype(np.float64)
    layer = models.vgg(depth, (64, 32, 3), 5, batch_norm=batch_norm, width=8)
    assert_equal_to_torch(layer, VGG(depth, batch_norm, 5, (2, 1), 8), x, train=train)


def test_a_map_larger_than_7_is_averaged_to_7_as_in_torchvision(torch):
    from tests.models.parity import assert_equal_to_torch
    from tests.models.torch_classic import VGG

    x = np.random.default_rng(0).normal(size=(1, 288, 224, 3)).astype(np.float32)
    layer = models.vgg(11, (288, 224, 3), 5, width=2)
    assert_equal_to_torch(layer, VGG(11, False, 5, (7, 7), 2), x)


def test_for_small_images_the_first_linear_layer_is_small():
    params, _ = jax.eval_shape(models.vgg(16, (32, 32, 3), 10).init, jax.random.key(0))
    assert params["classifier"]["linear1"]["kernel"].shape == (512, 4096)


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        # 896 + 9,248, 18,496 + 36,928, 73,856 + 147,584, 4·4·128·10 + 10
        ({}, 307_498),
        # 280 + 910, 1,820 + 3,620, 7,240 + 14,440, 3·4·40·5 + 5
        ({"inputs": [24, 32, 3], "classes": 5, "width": 10}, 30_715),
    ],
)
def test_small_vgg_has_six_convolutions_and_one_linear_layer(arguments, parameters):
    shape = (1, *arguments.get("inputs", (32, 32, 3)))
    summary = nn.summary(models.small_vgg(**arguments), shape)
    assert summary.parameters == parameters
    assert summary.depth == 7
    kinds = [row.layer.partition("(")[0] for row in summary.rows]
    assert kinds == [*["conv", "relu", "conv", "relu", "max_pool"] * 3, "flatten", "linear"]


def test_small_vgg_equals_torch(torch):
    from tests.models.parity import assert_equal_to_torch, in_a_row

    modules = []
    for channels, features in ((3, 4), (4, 8), (8, 16)):
        modules += [torch.nn.Conv2d(channels, features, 3, padding=1), torch.nn.ReLU()]
        modules += [torch.nn.Conv2d(features, features, 3, padding=1), torch.nn.ReLU()]
        modules += [torch.nn.MaxPool2d(2)]
    modules += [torch.nn.Flatten(), torch.nn.Linear(16 * 3 * 2, 5)]
    layer = models.small_vgg((24, 16, 3), 5, width=4)
    x = np.random.default_rng(0).normal(size=(3, 24, 16, 3)).astype(np.float32)
    assert_equal_to_torch(layer, in_a_row(layer, *modules), x)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("vgg", {"depth": 12}, r"vgg: depth is 12, but must be one of \[11, 13, 16, 19\]"),
        ("vgg", {"depth": [16]}, r"vgg takes an integer as depth, got \[16\]"),
        ("vgg", {"inputs": [31, 32, 3]}, "vgg needs inputs .* of 32×32 at least"),
        ("vgg", {"width": 0}, "conv needs out_channels ≥ 1"),
        ("small_vgg", {"inputs": [7, 8, 3]}, "small_vgg needs inputs .* of 8×8 at least"),
        ("small_vgg", {"inputs": 32}, r"inputs \(height, width, channels\)"),
    ],
)
def test_refuses(name, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        models.build(name, **arguments)
