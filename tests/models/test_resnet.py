from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from dlcore import models, nn, tree


def shapes(layer):
    return jax.eval_shape(layer.init, jax.random.key(0))


@functools.cache
def summary(depth):
    return nn.summary(models.resnet(depth), (1, 224, 224, 3))


def images(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@pytest.mark.parametrize(
    ("depth", "parameters"),
    # torchvision's num_params
    [
        (18, 11_689_512),
        pytest.param(34, 21_797_672, marks=pytest.mark.slow),
        (50, 25_557_032),
        pytest.param(101, 44_549_160, marks=pytest.mark.slow),
        pytest.param(152, 60_192_808, marks=pytest.mark.slow),
    ],
)
def test_as_deep_as_it_is_called_with_the_published_parameters(depth, parameters):
    assert summary(depth).depth == depth
    assert summary(depth).parameters == parameters
    assert tree.count(shapes(models.resnet(depth, scan=True))[0]) == parameters


def test_maps_are_those_of_table_1_and_the_stride_is_that_of_the_3x3():
    outputs = {row.path: row.output for row in summary(50).rows}
    assert outputs["stem/conv1"] == "[1, 112, 112, 64]"
    assert outputs["stem/max_pool1"] == "[1, 56, 56, 64]"
    assert outputs["stage1/2/body/conv3"] == "[1, 56, 56, 256]"
    assert outputs["stage2/0/body/conv1"] == "[1, 56, 56, 128]"
    assert outputs["stage2/0/body/conv2"] == "[1, 28, 28, 128]"
    assert outputs["stage2/0/skip/conv1"] == "[1, 28, 28, 512]"
    assert outputs["stage3/5/body/conv3"] == "[1, 14, 14, 1024]"
    assert outputs["stage4/2/body/batch_norm3"] == "[1, 7, 7, 2048]"
    assert outputs["head"] == "[1, 1000]"


def test_shortcuts_have_weights_where_the_shape_changes_alone():
    for depth, firsts in ((18, {2, 3, 4}), (50, {1, 2, 3, 4})):
        params, _ = shapes(models.resnet(depth))
        found = {
            (stage, block)
            for stage in range(1, 5)
            for block, parts in params[f"stage{stage}"].items()
            if "skip" in parts
        }
        assert found == {(stage, "0") for stage in firsts}


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, 34, 50])
def test_equals_torch(depth, torch):
    from tests.models import torch_residual
    from tests.models.parity import assert_equal_to_torch

    network = torch_residual.moved(torch_residual.resnet(depth, classes=5))
    layer = models.resnet(depth, (64, 48, 3), 5)
    assert_equal_to_torch(layer, network, images(4, 64, 48, 3))


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "scan"), [(18, False), (50, True)])
def test_equals_torch_in_training(depth, scan, x64, torch):
    """In float64: in float32 some relu of so many is within rounding of 0 and takes either side."""
    from tests.models import torch_residual
    from tests.models.parity import assert_equal_to_torch

    network = torch_residual.moved(torch_residual.resnet(depth, classes=5))
    layer = models.resnet(depth, (64, 64, 3), 5, scan=scan)
    assert_equal_to_torch(layer, network, images(4, 64, 64, 3, dtype=np.float64), train=True)


def test_starts_by_the_fan_of_the_outputs_with_norms_of_one():
    stage = dict(models.resnet(18).info.children)["stage2"]
    params, _ = jax.device_get(stage.init(jax.random.key(0)))
    body, skip = params["0"]["body"], params["0"]["skip"]
    for kernel, fan in ((body["conv1"]["kernel"], 9 * 128), (skip["conv1"]["kernel"], 128)):
        np.testing.assert_allclose(kernel.std(), np.sqrt(2 / fan), rtol=0.02)
    np.testing.assert_array_equal(body["batch_norm2"]["scale"], 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 20}, r"resnet: depth is 20, but must be one of \[18, 34, 50, 101, 152\]"),
        ({"depth": {}}, "resnet takes an integer as depth, got {}"),
        ({"inputs": [224, 224]}, r"resnet needs inputs \(height, width, channels\)"),
        ({"inputs": [0, 224, 3]}, "resnet needs inputs .* of 1×1 at least"),
        ({"classes": 0}, "linear needs out_features ≥ 1"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        models.resnet(**arguments)
