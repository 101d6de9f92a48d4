"""The CRF at the end of a network."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import nn

NAMES = ("O", "B-X", "I-X")


def test_it_gives_a_chain_of_its_scores_and_keeps_the_mask():
    layer = nn.crf(3, allowed=F.iob2_allowed(NAMES))
    params = {
        "transitions": np.arange(9.0, dtype=np.float32).reshape(3, 3),
        "start": np.ones(3, np.float32),
        "end": np.full(3, 2, np.float32),
    }
    x, mask = np.zeros((2, 4, 3), np.float32), np.ones((2, 4), bool)
    chain, _ = jax.device_get(jax.jit(layer.apply)(params, (), x, mask=mask))
    assert isinstance(chain, F.Chain)
    np.testing.assert_array_equal(chain.mask, mask)
    np.testing.assert_array_equal(chain.emissions, x)
    for row in range(2):
        np.testing.assert_array_equal(np.argwhere(chain.transitions[row] < -1e29), [[0, 2]])
        assert chain.start[row].tolist() == pytest.approx([1, 1, -1e30])
        np.testing.assert_array_equal(chain.end[row], params["end"])


def test_in_a_network_it_reads_the_mask_and_finds_allowed_paths_alone():
    layer = nn.serial(nn.lstm(2, 4, bidirectional=True), nn.linear(8, 3), nn.crf(3))
    tied = nn.serial(
        nn.lstm(2, 4, bidirectional=True),
        nn.linear(8, 3),
        nn.crf(3, allowed=F.iob2_allowed(NAMES)),
    )
    assert layer.info.reads == {"mask"}
    params, state = layer.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(30, 6, 2)).astype(np.float32)
    mask = np.arange(6) < np.arange(30)[:, None] % 7
    params["linear1"]["bias"] = params["linear1"]["bias"].at[2].set(0.3)  # I-X is likely

    @jax.jit
    def paths(params):
        return [
            F.crf_viterbi(one.apply(params, state, x, mask=mask)[0])[0] for one in (layer, tied)
        ]

    free, bound = jax.device_get(paths(params))
    allowed, first = F.iob2_allowed(NAMES)

    def breaches(found):
        steps = [
            (row[:-1][real[1:]], row[1:][real[1:]]) for row, real in zip(found, mask, strict=True)
        ]
        return sum((~allowed[one, two]).sum() for one, two in steps) + sum(
            not first[row[0]] for row, real in zip(found, mask, strict=True) if real[0]
        )

    assert breaches(free) > 0
    assert breaches(bound) == 0


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: nn.crf(0), "crf needs tags ≥ 1"),
        (lambda: nn.crf(3, allowed=F.iob2_allowed(["O", "B-X"])), "allowed transitions are"),
        (lambda: nn.crf(2, allowed=(np.ones((2, 2), bool), np.ones(3))), "allowed first tags are"),
        (lambda: nn.crf(3, names=2), "crf has no names"),
        (
            lambda: nn.crf(3).apply(nn.crf(3).init(jax.random.key(0))[0], (), np.ones((2, 3, 4))),
            r"crf expected \[B, T, 3\]",
        ),
    ],
)
def test_refuses(call, told):
    with pytest.raises((ValueError, TypeError), match=told):
        call()


@pytest.mark.parametrize(
    ("allowed", "error", "message"),
    [
        (np.ones((3, 3), bool), TypeError, r"allowed is bool\[3, 3\], but two are wanted"),
        ((np.ones((3, 3), bool),), TypeError, "but two are wanted, .transitions, first tags."),
        (True, TypeError, "allowed is True, but two are wanted"),
        ((np.ones((3, 3)), np.ones(3, bool)), ValueError, r"float32\[3, 3\], but bool\[3, 3\] is"),
        ((np.ones((3, 3), bool), np.ones(2, bool)), ValueError, r"first tags are bool\[2\], but"),
    ],
)
def test_what_is_allowed_has_its_form(allowed, error, message):
    with pytest.raises(error, match=message):
        nn.crf(3, allowed=allowed)
