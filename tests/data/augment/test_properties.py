"""What holds for every random augmentation of images and of sounds."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data import augment
from dlcore.data.augment import audio, images

BATCH = 8
GENERATOR = np.random.default_rng(0)
PICTURES = GENERATOR.random((BATCH, 12, 14, 3), np.float32)
PICTURES[0] = 0
PICTURES[1] = 1
PICTURES[2] = (PICTURES[2] > 0.5).astype(np.float32)
SOUNDS = np.clip(GENERATOR.normal(size=(BATCH, 900)) / 2, -1, 1).astype(np.float32)
SOUNDS[0] = 0
SOUNDS[1] = 1

# With settings that change most examples.
OF_IMAGES = {
    "flip": images.random_flip,
    "crop": partial(images.random_crop, padding=3),
    "rotation": partial(images.random_rotation, limit=40.0),
    "scale": partial(images.random_scale, limit=0.5),
    "stretch": partial(images.random_stretch, limit=0.5),
    "shear": partial(images.random_shear, limit=0.4),
    "elastic": partial(images.random_elastic, alpha=20.0, sigma=2.0, fill=1.0),
    "brightness": partial(images.random_brightness, limit=0.5),
    "contrast": partial(images.random_contrast, limit=0.5),
    "saturation": partial(images.random_saturation, limit=1.0),
    "hue": partial(images.random_hue, limit=0.5),
    "noise": partial(images.random_noise, std=0.3),
    "cutout": partial(images.random_cutout, size=5),
    "random_augment": partial(images.random_augment, n=1, magnitude=7.0),
}
OF_SOUNDS = {
    "volume": partial(audio.random_volume, limit=12.0),
    "time_shift": partial(audio.random_time_shift, limit=300),
    "noise": partial(audio.random_noise, snr=10.0),
    "speed": partial(audio.random_speed, limit=0.3),
    "time_stretch": partial(audio.random_time_stretch, limit=0.3, window=128),
    "pitch_shift": partial(audio.random_pitch_shift, limit=4.0, window=128),
    "mask": partial(audio.random_mask, axis=0, limit=300),
}
CASES = [
    *(pytest.param(one, PICTURES, 0, id=name) for name, one in OF_IMAGES.items()),
    *(pytest.param(one, SOUNDS, -1, id=name) for name, one in OF_SOUNDS.items()),
]


def keys():
    """As `each` derives them."""
    numbers = jnp.arange(BATCH, dtype=jnp.uint32)
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), numbers)


@pytest.mark.parametrize(("augmentation", "examples", "low"), CASES)
def test_shape_dtype_and_range_stay_and_the_key_alone_decides(augmentation, examples, low):
    of_a_batch = jax.jit(augment.each(augmentation))
    one, again, other = (of_a_batch(jax.random.key(seed), examples) for seed in (0, 0, 1))
    assert one.shape == examples.shape
    assert one.dtype == jnp.float32
    assert low <= one.min()
    assert one.max() <= 1
    np.testing.assert_array_equal(one, again)
    for before in (other, examples):
        differs = [not np.array_equal(a, b) for a, b in zip(one[2:], before[2:], strict=True)]
        assert sum(differs) >= 2
    under_vmap = jax.eval_shape(jax.vmap(augmentation), keys(), examples)
    assert under_vmap.shape == examples.shape
    assert under_vmap.dtype == jnp.float32


@pytest.mark.parametrize(
    "name", ["rotation", pytest.param("random_augment", marks=pytest.mark.slow), "time_stretch"]
)
def test_a_batch_is_its_examples_each_with_a_key_of_its_own(name):
    """One by one, as on CPU, and all at once, as elsewhere."""
    augmentation = {**OF_IMAGES, **OF_SOUNDS}[name]
    examples = jnp.asarray(PICTURES if name in OF_IMAGES else SOUNDS)
    together = jax.jit(augment.each(augmentation))(jax.random.key(0), examples)
    at_once = jax.jit(jax.vmap(augmentation))(keys(), examples)
    np.testing.assert_allclose(together, at_once, atol=2e-5)
    alone = jax.jit(augmentation)(keys()[5], examples[5])
    np.testing.assert_allclose(together[5], alone, atol=2e-5)


@pytest.mark.parametrize(
    "augmentation", [*OF_IMAGES.values(), *OF_SOUNDS.values()], ids=[*OF_IMAGES, *OF_SOUNDS]
)
def test_a_raw_key_is_refused(augmentation):
    example = PICTURES[3] if augmentation in OF_IMAGES.values() else SOUNDS[3]
    with pytest.raises(TypeError, match=r"jax\.random\.key\(0\), not jax\.random\.PRNGKey\(0\)"):
        augmentation(jnp.zeros(2, jnp.uint32), jnp.asarray(example))


@pytest.mark.parametrize("augmentation", OF_IMAGES.values(), ids=OF_IMAGES)
def test_grey_images_may_be_augmented_too(augmentation):
    shape = jax.eval_shape(augmentation, jax.random.key(0), jnp.asarray(PICTURES[3, ..., :1]))
    assert shape.shape == (12, 14, 1)
    assert shape.dtype == jnp.float32


def test_a_chain_is_one_after_another_with_keys_of_their_own():
    one, two = OF_IMAGES["flip"], OF_IMAGES["brightness"]
    image = jnp.asarray(PICTURES[3])
    chained = augment.chain(one, two)(jax.random.key(0), image)
    key, other = (jax.random.fold_in(jax.random.key(0), i) for i in range(2))
    np.testing.assert_array_equal(chained, two(other, one(key, image)))


def test_inputs_leave_the_targets_alone():
    batch = {"x": jnp.asarray(PICTURES), "y": jnp.arange(BATCH)}
    changed = augment.inputs(OF_IMAGES["crop"])(jax.random.key(0), batch)
    assert changed["y"] is batch["y"]
    expected = augment.each(OF_IMAGES["crop"])(jax.random.key(0), batch["x"])
    np.testing.assert_array_equal(changed["x"], expected)
