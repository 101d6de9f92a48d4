from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import models, nn, tree


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_parameters_are_the_published_ones():
    """torchvision's num_params of convnext_tiny."""
    summary = nn.summary(models.convnext_tiny(), (1, 224, 224, 3))
    assert summary.parameters == 28_589_128
    outputs = {row.path: row.output for row in summary.rows}
    assert outputs["stem/layer_norm1"] == "[1, 56, 56, 96]"
    assert outputs["downsample4/conv1"] == "[1, 7, 7, 768]"
    assert outputs["stage3/8/body/linear1"] == "[1, 14, 14, 1536]"
    assert outputs["head"] == "[1, 1000]"


@pytest.mark.slow
def test_equals_torch(torch):
    """Trained without stochastic depth, whose draws torch cannot repeat."""
    from tests.models import torch_residual
    from tests.models.parity import assert_equal_to_torch

    network = torch_residual.moved(torch_residual.ConvNeXt(5))
    layer = models.convnext_tiny((32, 64, 3), 5, stochastic_depth=0.0)
    assert_equal_to_torch(layer, network, images(3, 32, 64, 3), train=True)


def test_deeper_blocks_are_left_out_more_often():
    layer = models.convnext_tiny(stochastic_depth=0.34)
    rates = [
        dict(block.info.children)["body"].info.children[-1][1].info.config["rate"]
        for name, stage in layer.info.children
        if name.startswith("stage")
        for _, block in stage.info.children
    ]
    np.testing.assert_allclose(rates, np.arange(18) * 0.02)
    assert layer.info.config["stochastic_depth"] == 0.34
    shapes = jax.eval_shape(layer.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    with pytest.raises(ValueError, match="needs a key in training"):
        jax.eval_shape(
            lambda params, state, x: layer.apply(params, state, x, train=True), *shapes, x
        )


def test_starts_as_the_paper_does():
    parts = dict(models.convnext_tiny().info.children)
    parts["block"] = dict(parts["stage1"].info.children)["0"]
    params = {
        name: jax.device_get(parts[name].init(jax.random.key(0))[0])
        for name in ("stem", "block", "downsample2", "head")
    }
    for path, leaf in tree.leaves_with_paths(params):
        if path.endswith("kernel"):
            np.testing.assert_allclose(leaf.std(), 0.02, rtol=0.05, err_msg=path)
        elif path.endswith("bias"):
            np.testing.assert_array_equal(leaf, 0, err_msg=path)
        elif "layer_scale" in path:
            np.testing.assert_array_equal(leaf, np.float32(1e-6), err_msg=path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": [31, 32, 3]}, "convnext_tiny needs inputs .* of 32×32 at least"),
        ({"stochastic_depth": 1.0}, "stochastic_depth: rate is 1.0"),
        ({"classes": 0}, "linear needs out_features ≥ 1"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        models.convnext_tiny(**arguments)
