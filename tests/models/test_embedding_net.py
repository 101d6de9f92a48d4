from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import models, tree


def test_embeddings_are_of_length_1():
    layer = models.build("embedding_net", inputs=[16, 10, 3], features=5, width=2)
    params, state = layer.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(4, 16, 10, 3)).astype(np.float32)
    embeddings, _ = jax.jit(layer.apply)(params, state, x)
    assert embeddings.shape == (4, 5)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)


def test_parameters_are_those_of_the_table():
    params, _ = jax.eval_shape(models.embedding_net().init, jax.random.key(0))
    sizes = [tree.count(part) for part in params.values()]
    assert sum(sizes) == 176 + 4_672 + 18_560 + 147_520 == 170_928


def test_small_images_are_refused():
    with pytest.raises(ValueError, match="8×8 at least"):
        models.embedding_net((7, 8, 1))
