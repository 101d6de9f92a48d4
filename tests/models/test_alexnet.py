from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import models, nn
from dlcore.models.alexnet import last_side

FORMS = (models.alexnet, models.alexnet_2012)


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        # torchvision's alexnet (num_params: 61,100,840), Krizhevsky 2014
        (
            models.alexnet,
            (23_296, 307_392, 663_936, 884_992, 590_080, 37_752_832, 16_781_312, 4_097_000),
        ),
        # Caffe's bvlc_alexnet (60,965,224), Krizhevsky et al. 2012
        (
            models.alexnet_2012,
            (34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000),
        ),
    ],
)
def test_eight_layers_with_the_published_parameters(make, layers):
    summary = nn.summary(make(), (1, 224, 224, 3))
    assert summary.depth == 8
    assert tuple(row.parameters for row in summary.rows if row.parameters) == layers
    assert summary.parameters == {"alexnet": 61_100_840, "alexnet_2012": 60_965_224}[make.__name__]
    assert summary.rows[-1].output == "[1, 1000]"


def test_maps_are_those_of_the_paper():
    """Krizhevsky et al. 2012, section 3.5 and figure 2."""
    rows = nn.summary(models.alexnet_2012(), (1, 224, 224, 3)).rows
    outputs = {row.path: row.output for row in rows}
    assert outputs["features/conv1"] == "[1, 55, 55, 96]"
    assert outputs["features/conv2"] == "[1, 27, 27, 256]"
    assert outputs["features/conv5"] == "[1, 13, 13, 256]"
    assert outputs["flatten1"] == "[1, 9216]"


@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize("side", [63, 94, 95, 227, 300])
def test_takes_images_of_other_sizes(make, side):
    layer = make((side, 64, 1), classes=3)
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((2, side, 64, 1), np.float32)
    features = dict(layer.info.children)["features"]
    last, _ = jax.eval_shape(features.apply, params["features"], (), x)
    assert last.shape[1:3] == (last_side(side), 1)
    assert jax.eval_shape(layer.apply, params, state, x)[0].shape == (2, 3)


def test_a_map_larger_than_6_is_averaged_to_6():
    layer = models.alexnet((300, 224, 3))
    params, _ = jax.eval_shape(layer.init, jax.random.key(0))
    assert params["classifier"]["linear1"]["kernel"].shape == (6 * 6 * 256, 4096)


@pytest.mark.parametrize(
    ("make", "theirs"), [(models.alexnet, "AlexNet"), (models.alexnet_2012, "AlexNet2012")]
)
def test_equals_torch(make, theirs, torch):
    from tests.models import torch_classic
    from tests.models.parity import assert_equal_to_torch

    network = getattr(torch_classic, theirs)(5, (2, 1))
    x = np.random.default_rng(0).normal(size=(2, 95, 63, 3)).astype(np.float32)
    assert_equal_to_torch(make((95, 63, 3), 5), network, x)


@pytest.mark.parametrize("make", FORMS)
def test_refuses_what_is_too_small(make):
    with pytest.raises(ValueError, match=r"of 63×63 at least, got inputs=\(224, 62, 3\)"):
        make((224, 62, 3))
