"""The chapter on vision: what parts of its experiments compute, and what their claims ask for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from experiments.vision import depth, family, lenet, sharing, transfer
from tests.experiments.smoke import drawn, holds


@pytest.mark.slow
def test_transfer_has_every_arm(smoke):
    arms = {(one.task, one.arm) for one in smoke("transfer").measured.scores}
    assert len(arms) == 3 * 5


def test_transfer_gains_where_the_claims_say():
    def scores(near, near_many, far):
        return [
            transfer.Score(task, labels, arm, value)
            for task, labels, best in (
                ("near", 50, near),
                ("near", 500, near_many),
                ("far a", 50, far),
                ("far b", 50, far),
            )
            for arm, value in (("0 thawed", best), ("from scratch", 0.5))
        ]

    def judged(*best):
        return holds(transfer, transfer.Measured(0.0, scores(*best)))

    assert judged(0.7, 0.6, 0.6) == [True, True, True]
    assert judged(0.4, 0.3, 0.6) == [False, False, True]
    assert judged(0.7, 0.8, 0.75) == [True, False, False]


@pytest.mark.slow
def test_sharing_counts_what_is_shared(smoke):
    arms = {arm.name: arm for arm in smoke("sharing").measured.arms}
    assert arms["dense"].parameters == 36 * 36 * 5184 + 5184
    assert arms["local"].parameters == 18 * 18 * (25 * 16 + 16)
    assert arms["conv"].parameters == 25 * 16 + 16
    assert smoke("sharing").measured.equivariance_error < 1e-5


def test_sharing_claims_follow_the_measurements():
    good = [
        sharing.Arm("dense", False, 10**7, 1.0, [0.9, 0.2]),
        sharing.Arm("conv", False, 10**3, 1.0, [0.95, 0.3]),
        sharing.Arm("conv", True, 10**3, 1.0, [0.97, 0.6]),
    ]
    assert all(holds(sharing, sharing.Measured(good, 0.0)))
    bad = [
        sharing.Arm("dense", False, 10**5, 1.0, [0.99, 0.9]),
        sharing.Arm("conv", False, 10**3, 1.0, [0.95, 0.9]),
        sharing.Arm("conv", True, 10**3, 1.0, [0.97, 0.6]),
    ]
    assert not any(holds(sharing, sharing.Measured(bad, 1.0)))


def test_moved_digits_lie_where_they_should():
    image = np.zeros((40, 9, 9, 1), np.float32)
    image[:, 4, 4] = 1
    examples = {"x": image, "y": np.zeros(40, np.int32)}
    places = np.argwhere(sharing.moved(examples, 2)["x"])[:, 1:3] - 4
    assert set(map(tuple, places.tolist())) <= {
        (i, j) for i in (-2, 0, 2) for j in (-2, 0, 2) if i or j
    }
    assert len(np.unique(places, axis=0)) > 4


def test_depth_claims_compare_gaps():
    def network(kind, depth_, loss, gradients):
        return depth.Network(kind, depth_, [1], [loss], gradients)

    even, uneven = [1.0] * 6, [1e-3] * 3 + [1.0] * 3
    degraded = [
        network("plain", 20, 1.0, even),
        network("plain", 56, 1.5, uneven),
        network("ResNet", 20, 1.0, even),
        network("ResNet", 56, 1.1, even),
    ]
    assert all(holds(depth, degraded))
    fine = [one._replace(gradients=even, losses=[1.0]) for one in degraded]
    assert not any(holds(depth, fine))


@pytest.mark.slow
def test_depth_reads_the_gradient_of_every_convolution_in_order(smoke):
    plain = smoke("depth").measured[0]
    assert len(plain.gradients) == plain.depth - 1
    assert all(norm > 0 for norm in plain.gradients)


def test_family_spends_one_budget():
    examples = drawn("cifar10")
    config = dataclasses.replace(family.Config(), batch_size=8)
    small, large = (
        family.cost(family.NETWORKS[name][1](), examples, config)
        for name in ("small VGG", "ResNet-20")
    )
    # Multiplications and additions of the convolutions, forward and twice backward.
    pixels = 8 * 32 * 32
    forward = 2 * 9 * pixels * (3 * 16 + 16 * 16 + (16 * 32 + 32 * 32 + (32 + 64) * 64 / 4) / 4)
    assert 2.5 * forward < small < 3.5 * forward
    assert 2.5 * 8 * 81.6e6 < large < 4 * 8 * 81.6e6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: transfer.Config(labels=(5,)), "labels are different numbers of at least 10"),
        (lambda: depth.Config(depths=(56, 20)), "depths are a shallow and a deep one"),
        (lambda: family.Config(networks=("VGG11",)), "no network is called 'VGG11', did you mean"),
        (lambda: sharing.Config(epochs=0), "epochs must be at least 1"),
        (lambda: lenet.Config(learning_rate=-1), "learning_rate must be more than 0"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
