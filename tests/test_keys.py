from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import keys


def data(key):
    return np.asarray(jax.random.key_data(key)).tolist()


def test_a_child_key_is_the_key_folded_with_the_crc_of_its_name():
    key = jax.random.key(3)
    assert data(keys.child(key, "conv1")) == data(jax.random.fold_in(key, zlib.crc32(b"conv1")))


def test_streams_differ_from_each_other_and_between_seeds():
    found = {tuple(data(keys.stream(seed, name))) for seed in range(5) for name in keys.STREAMS}
    assert len(found) == 5 * len(keys.STREAMS)


def test_a_traced_seed_gives_the_same_stream():
    traced = jax.jit(lambda seed: jax.random.key_data(keys.stream(seed, "step")))(7)
    assert np.asarray(traced).tolist() == data(keys.stream(7, "step"))


@pytest.mark.parametrize("raw", [np.zeros(2, np.uint32), 0, None])
def test_what_is_no_typed_key_is_refused_with_the_corrected_call(raw):
    with pytest.raises(TypeError, match=r"jax\.random\.key\(0\)"):
        keys.child(raw, "conv1")


def test_an_old_style_key_is_refused():
    with pytest.raises(TypeError, match=r"uint32\[2\]"):
        keys.check(jnp.zeros(2, jnp.uint32))


def test_an_unknown_stream_is_refused():
    with pytest.raises(ValueError, match="init, data, step, evaluation"):
        keys.stream(0, "dropout")
