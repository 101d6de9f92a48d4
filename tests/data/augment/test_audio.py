"""Sounds: what happens to the frequency, the length and the loudness of a tone."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from dlcore.data.augment import audio
from dlcore.data.augment.audio import spectrum, waveform

RATE = 8_000
T = 6_000
TONES = (220.0, 440.0, 1_000.0)
GENERATOR = np.random.default_rng(0)
NOISE = jnp.asarray(GENERATOR.uniform(-0.5, 0.5, T).astype(np.float32))


def tone(frequency, amplitude=0.5, start=0, stop=T):
    n = np.arange(T)
    sound = amplitude * np.sin(2 * np.pi * frequency * n / RATE + 1)
    return jnp.asarray(np.where((n >= start) & (n < stop), sound, 0).astype(np.float32))


def frequency_of(samples):
    """The peak of the spectrum, between its bins."""
    samples = np.asarray(samples, np.float64)
    magnitude = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 16 * len(samples)))
    return magnitude.argmax() * RATE / (16 * len(samples))


def amplitude_of(samples):
    return np.sqrt(2 * np.mean(np.asarray(samples, np.float64) ** 2))


speed, time_stretch = jax.jit(audio.speed), jax.jit(audio.time_stretch)
pitch_shift = jax.jit(audio.pitch_shift)


# Speed


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("frequency", TONES)
def test_speed_multiplies_the_frequency_and_divides_the_length(frequency, factor):
    stop = int(T * min(factor, 1) * 0.9)
    fast = np.asarray(speed(tone(frequency, stop=stop), factor))
    end = round(stop / factor)
    inside = fast[100 : end - 100]
    assert frequency_of(inside) == pytest.approx(factor * frequency, abs=0.5)
    assert amplitude_of(inside) == pytest.approx(0.5, rel=0.01)
    assert np.abs(fast[end + 40 :]).max() < 1e-3


def test_speed_is_exact_between_the_samples_of_a_tone():
    factor, frequency = 0.9, 700.0
    expected = 0.5 * np.sin(2 * np.pi * frequency * factor * np.arange(T) / RATE + 1)
    found = speed(tone(frequency), factor)
    np.testing.assert_allclose(found[50:-50], expected[50:-50], atol=5e-4)
    np.testing.assert_allclose(speed(NOISE, 1.0), NOISE, atol=1e-5)


def test_speed_is_scipys_resampling():
    smooth = jnp.asarray(signal.lfilter(*signal.butter(8, 0.3), NOISE).astype(np.float32))
    expected = signal.resample(smooth, T // 2)[100:-100]
    np.testing.assert_allclose(speed(smooth, 2.0)[100 : T // 2 - 100], expected, atol=1e-3)


def test_what_would_be_folded_is_taken_out():
    assert amplitude_of(speed(tone(3_000.0), 2.0)[100 : T // 2 - 100]) < 0.005
    assert amplitude_of(tone(3_000.0)[::2]) == pytest.approx(0.5, rel=0.01)


def test_places_may_lie_outside():
    places = jnp.asarray([-1_000.0, -33.0, 0.0, 5_999.0, 6_040.0, 1e6])
    found = waveform.resample(NOISE, places, 1.0)
    np.testing.assert_allclose(found, [0, 0, NOISE[0], NOISE[-1], 0, 0], atol=1e-6)


# The vocoder


@pytest.mark.parametrize("factor", [0.75, 1.4])
@pytest.mark.parametrize("frequency", TONES)
def test_time_stretch_keeps_the_frequency_and_divides_the_length(frequency, factor):
    stop = int(T * min(factor, 1) * 0.85)  # and the new sound has an end too
    fast = np.asarray(time_stretch(tone(frequency, stop=stop), factor))
    end = round(stop / factor)
    inside = fast[600 : end - 600]
    assert frequency_of(inside) == pytest.approx(frequency, rel=1e-3)
    assert amplitude_of(inside) == pytest.approx(0.5, rel=0.01)
    assert amplitude_of(fast[end - 500 : end - 200]) == pytest.approx(0.5, rel=0.02)
    assert np.abs(fast[end + 512 :]).max() < 1e-3


def test_a_factor_of_one_gives_the_sound_back():
    np.testing.assert_allclose(time_stretch(NOISE, 1.0), NOISE, atol=1e-5)
    np.testing.assert_allclose(pitch_shift(NOISE, 0.0), NOISE, atol=1e-5)


@pytest.mark.parametrize("semitones", [-12.0, -3.0, 4.0, 12.0])
@pytest.mark.parametrize("frequency", TONES[1:])
def test_pitch_shift_multiplies_the_frequency_and_keeps_the_length(frequency, semitones):
    high = pitch_shift(tone(frequency, start=1_000, stop=5_000), semitones)
    inside = high[1_700:4_300]
    assert frequency_of(inside) == pytest.approx(frequency * 2 ** (semitones / 12), rel=1e-3)
    assert amplitude_of(inside) == pytest.approx(0.5, rel=0.01)
    assert np.abs(high[:400]).max() < 1e-3
    assert np.abs(high[5_600:]).max() < 1e-3


# Loudness, place, noise


def test_volume_is_in_decibels():
    quiet = audio.volume(NOISE, -20.0)
    np.testing.assert_allclose(quiet, NOISE / 10, rtol=1e-5)
    assert audio.volume(NOISE, 20.0).max() == 1


@pytest.mark.parametrize("shift", [0, 5, -7, T, -2 * T])
def test_a_time_shift_is_a_delay(shift):
    expected = np.zeros(T, np.float32)
    if abs(shift) < T:
        expected[max(shift, 0) : T + min(shift, 0)] = NOISE[max(-shift, 0) : T - max(shift, 0)]
    np.testing.assert_array_equal(audio.time_shift(NOISE, shift), expected)


@pytest.mark.parametrize("snr", [-3.0, 0.0, 20.0])
def test_noise_has_its_ratio_to_the_signal(snr):
    quiet = tone(440.0, amplitude=0.05)
    added = audio.random_noise(jax.random.key(0), quiet, snr) - quiet
    ratio = 10 * np.log10(np.mean(np.square(quiet)) / np.mean(np.square(added)))
    assert ratio == pytest.approx(snr, abs=1e-3)
    street = audio.add_noise(quiet, NOISE, snr) - quiet
    assert np.corrcoef(street, NOISE)[0, 1] == pytest.approx(1, abs=1e-5)
    ratio = 10 * np.log10(np.mean(np.square(quiet)) / np.mean(np.square(street)))
    assert ratio == pytest.approx(snr, abs=1e-3)


def test_silence_stays_silent():
    silence = jnp.zeros(T)
    for found in (
        audio.random_noise(jax.random.key(0), silence, 10.0),
        audio.add_noise(silence, silence, 10.0),
        audio.volume(silence, 30.0),
        speed(silence, 1.3),
        time_stretch(silence, 1.3),
        audio.mel_spectrogram(silence, RATE),
    ):
        np.testing.assert_array_equal(found, np.zeros_like(found))


# Spectrograms


def test_transforms_are_scipys():
    _, _, expected = signal.stft(
        NOISE, window="hann", nperseg=256, noverlap=192, boundary=None, padded=False
    )
    found = spectrum.transforms(NOISE, np.arange(0, T - 255, 64), 256) / (256 / 2)
    np.testing.assert_allclose(found, expected.T, atol=1e-6)


def test_a_tone_is_loudest_in_its_band_and_a_tenth_is_twenty_decibels_less():
    mel = functools.partial(audio.mel_spectrogram, rate=RATE, bands=30)
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    for band in (6, 15, 25):
        middle = 700 * (10 ** (top * (band + 1) / 31 / 2595) - 1)
        found = mel(tone(middle))
        assert found.shape == (1 + T // 64, 30)
        assert (np.argmax(found[3:-3], axis=1) == band).all()
    louder_then_quieter = jnp.concatenate([tone(440.0), tone(440.0) / 10])
    found = mel(louder_then_quieter)
    assert found.max() == 1
    assert found.min() >= 0
    assert found[40].max() - found[140].max() == pytest.approx(20 / 80, abs=1e-3)


def test_mel_bands_are_triangles_that_share_out_each_frequency():
    weights = spectrum.mel_bands(RATE, 20, 512)
    middles = weights.argmax(0)
    assert (np.diff(middles) > 0).all()
    np.testing.assert_allclose(weights[middles[0] + 1 : middles[-1]].sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_mask_is_a_stripe(axis):
    picture = jnp.asarray(GENERATOR.random((12, 9), np.float32))
    expected = np.array(picture)
    expected[(slice(3, 7), slice(None)) if axis == 0 else (slice(None), slice(3, 7))] = 0.5
    np.testing.assert_array_equal(audio.mask(picture, axis, 3, 4, 0.5), expected)
    np.testing.assert_array_equal(audio.mask(picture, axis, 3, 0), picture)


def test_random_masks_are_of_every_width_and_place():
    ones = jnp.ones((3, 6, 2))
    mask = jax.jit(functools.partial(audio.random_mask, axis=1, limit=4))
    found = set()
    for i in range(400):
        masked = np.asarray(mask(jax.random.key(i), ones))
        assert (masked == masked[:1, :, :1]).all()
        found.add(tuple(masked[0, :, 0]))
    stripes = {(start, width) for width in range(1, 5) for start in range(7 - width)}
    wanted = {tuple(0.0 if s <= i < s + w else 1.0 for i in range(6)) for s, w in stripes}
    assert found == wanted | {(1.0,) * 6}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: audio.volume(NOISE[None], 1.0), ValueError, r"volume: samples is \[1, 6000\]"),
        (lambda: audio.volume(jnp.arange(9), 1.0), TypeError, "samples is int32, but float32"),
        (lambda: audio.speed(NOISE, 0.0), ValueError, "speed: factor is 0.0, but must be posit"),
        (lambda: audio.time_stretch(NOISE, -1.0), ValueError, "time_stretch: factor is -1.0"),
        (lambda: audio.time_stretch(NOISE, 2.0, 30), ValueError, "vocoder: window is 30"),
        (lambda: audio.pitch_shift(NOISE, 13.0), ValueError, "semitones is 13.0, but -12 ≤"),
        (lambda: audio.add_noise(NOISE, NOISE[1:], 1.0), ValueError, r"noise is \[5999\], but"),
        (lambda: audio.mel_spectrogram(NOISE, RATE, 128), ValueError, "128 bands are narrower"),
        (
            lambda: audio.random_mask(jax.random.key(0), jnp.ones((4, 5)), 1, 6),
            ValueError,
            "random_mask: limit is 6, but 0 ≤ limit ≤ 5",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
