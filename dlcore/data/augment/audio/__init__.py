"""Augmentation of sounds: functions of samples float32 [T] in [−1, 1], and of spectrograms."""

from dlcore.data.augment.audio.masking import mask as mask
from dlcore.data.augment.audio.masking import random_mask as random_mask
from dlcore.data.augment.audio.spectrum import mel_spectrogram as mel_spectrogram
from dlcore.data.augment.audio.vocoder import pitch_shift as pitch_shift
from dlcore.data.augment.audio.vocoder import random_pitch_shift as random_pitch_shift
from dlcore.data.augment.audio.vocoder import random_time_stretch as random_time_stretch
from dlcore.data.augment.audio.vocoder import time_stretch as time_stretch
from dlcore.data.augment.audio.waveform import add_noise as add_noise
from dlcore.data.augment.audio.waveform import random_noise as random_noise
from dlcore.data.augment.audio.waveform import random_speed as random_speed
from dlcore.data.augment.audio.waveform import random_time_shift as random_time_shift
from dlcore.data.augment.audio.waveform import random_volume as random_volume
from dlcore.data.augment.audio.waveform import speed as speed
from dlcore.data.augment.audio.waveform import time_shift as time_shift
from dlcore.data.augment.audio.waveform import volume as volume
