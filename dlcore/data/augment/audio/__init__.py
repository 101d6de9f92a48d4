"""Augmentation of sounds: functions of samples float32 [T] in [−1, 1], and of spectrograms."""

from dlcore.data.augment.audio.masking import mask, random_mask
from dlcore.data.augment.audio.spectrum import mel_spectrogram
from dlcore.data.augment.audio.vocoder import (
    pitch_shift,
    random_pitch_shift,
    random_time_stretch,
    time_stretch,
)
from dlcore.data.augment.audio.waveform import (
    add_noise,
    random_noise,
    random_speed,
    random_time_shift,
    random_volume,
    speed,
    time_shift,
    volume,
)
from dlcore.names import api

__all__ = [
    "add_noise",
    "mask",
    "mel_spectrogram",
    "pitch_shift",
    "random_mask",
    "random_noise",
    "random_pitch_shift",
    "random_speed",
    "random_time_shift",
    "random_time_stretch",
    "random_volume",
    "speed",
    "time_shift",
    "time_stretch",
    "volume",
]

__getattr__, __dir__ = api(__name__, __all__)
