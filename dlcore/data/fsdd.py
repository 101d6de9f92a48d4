"""Free Spoken Digit Dataset: ten digits spoken by six people, seen as spectrograms."""

from __future__ import annotations

import io
import re
import wave
from pathlib import Path

import numpy as np

from dlcore.data import files
from dlcore.data.augment.audio.spectrum import mel_bands
from dlcore.data.dataset import Arrays, DataError, Dataset, check_count, hold_out
from dlcore.data.images import resize

REPOSITORY = "Jakobovski/free-spoken-digit-dataset"
COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
SOURCE = f"https://github.com/{REPOSITORY}"
ARCHIVE = "recordings.tar.gz"
FOLDER = "recordings"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TAKES = 50  # of each digit by each speaker
TEST_TAKES = 5  # the first ones
# Of all recordings, joined in the order of `_names`.
SHA256 = "c970515a3adcfbd78af1c0f438e2a22dca9960364a889a9a8e86f4e3812addc0"
RATE = 8_000  # samples a second

_BYTES = 1 << 16  # a recording has at most 36,568
_NAME = re.compile(
    rf"(?:\./)?(?:\w[\w.-]*/)?{FOLDER}/([0-9]_(?:{'|'.join(SPEAKERS)})_[0-9]{{1,2}}\.wav)"
)
_WINDOW = 256  # samples: 32 ms
_HOP = 64
_FLOOR = 80  # decibels


def fsdd(root: files.Root = None, validation: int = 300, size: int = 32) -> Dataset:
    """Spectrograms [N, size, size, 1] in [0, 1] of spoken digits: 2,700 to train, 300 to test.

    See `spectrogram`; each is resized, so that a recording fills its image whatever its length.
    The test split is the official one, the first five takes of each digit by each speaker; the last
    `validation` of the others (300: the last five takes) are the validation split. All speakers are
    in all splits. The files are `recordings.tar.gz` or a folder `recordings`, as in the repository;
    where there are none, its archive (16 MB) is downloaded.
    """
    recordings = _read(root)
    images = [resize(spectrogram(samples)[None, ..., None], size) for samples in recordings]
    arrays = {
        "x": np.concatenate(images),
        "y": np.array([int(name[0]) for name in _names()], np.int32),
    }
    cut = TEST_TAKES * len(SPEAKERS) * 10
    test = {key: array[:cut] for key, array in arrays.items()}
    others = {key: array[cut:] for key, array in arrays.items()}
    return Dataset(
        "fsdd",
        *hold_out(others, validation),
        test,
        tuple(map(str, range(10))),
        f"Free Spoken Digit Dataset ({SOURCE}): ten digits, {len(SPEAKERS)} speakers, "
        f"{len(recordings):,} recordings at 8 kHz, as spectrograms. CC BY-SA 4.0.",
    )


def fsdd_sequences(
    root: files.Root = None, steps: int = 64, bands: int = 40, hop: int = 128
) -> Arrays:
    """All 3,000 recordings as sequences, for splits of one's own such as a speaker held out.

    x float32 [N, steps, bands] in [0, 1], the loudness of the mel bands every `hop` samples, as
    `augment.audio.mel_spectrogram` gives it; mask bool [N, steps], False where a recording has
    ended (there x is 0), and longer ones are cut; y int32 [N], the digits; speaker int32 [N], which
    of `fsdd.SPEAKERS`. By default 64 steps are 1.0 s, and 17 recordings are longer.
    """
    check_count("steps", steps, 1)
    weights = mel_bands(RATE, check_count("bands", bands, 1), _WINDOW)
    check_count("hop", hop, 1)
    recordings = _read(root)
    x = np.zeros((len(recordings), steps, bands), np.float32)
    mask = np.zeros(x.shape[:2], bool)
    for row, samples in enumerate(recordings):
        found = _mel_spectrogram(samples, weights, hop)[:steps]
        x[row, : len(found)], mask[row, : len(found)] = found, True
    names = _names()
    digits = np.array([int(name[0]) for name in names], np.int32)
    speakers = np.array([SPEAKERS.index(name.split("_")[1]) for name in names], np.int32)
    return {"x": x, "mask": mask, "y": digits, "speaker": speakers}


def read_wav(data: bytes) -> np.ndarray:
    """The samples float32 [T] in [−1, 1) of a WAV file with one channel of 16 bits at 8 kHz."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            count = file.getnframes()
            form = (file.getnchannels(), 8 * file.getsampwidth(), file.getframerate())
            content = file.readframes(count)
    except Exception as error:  # a damaged header makes wave raise almost anything
        raise DataError(f"not a sound WAV file ({error})") from None
    if form != (1, 16, RATE):
        raise DataError(f"channels, bits and rate are {form}, but {(1, 16, RATE)} are wanted")
    if not 0 < 2 * count == len(content):
        raise DataError(f"holds {len(content)} bytes of samples, but its header says {2 * count}")
    return np.frombuffer(content, "<i2") / np.float32(2**15)


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """How loud each frequency is at each time: samples [T] to float32 [129, 1 + T // 64] in [0, 1].

    1 + max(20·log₁₀(|X| / max |X|), −80) / 80, where X are the Fourier transforms of 256 samples
    about every 64th one, under a Hann window. Rows are frequencies, the highest on top.
    """
    magnitude = np.abs(_transforms(samples, _HOP)).T[::-1]
    loudest = magnitude.max() or 1.0  # silence stays silent
    decibels = 20 * np.log10(np.maximum(magnitude / loudest, 10 ** (-_FLOOR / 20)))
    return (1 + decibels / _FLOOR).astype(np.float32)


def _mel_spectrogram(samples: np.ndarray, weights: np.ndarray, hop: int) -> np.ndarray:
    """1 + max(10·log₁₀(E / max E), −80) / 80 [1 + T // hop, bands], in NumPy: T is another each."""
    energy = np.abs(_transforms(samples, hop)) ** 2 @ weights
    relative = energy / (energy.max() or 1.0)
    return 1 + 10 / _FLOOR * np.log10(np.maximum(relative, 10 ** (-_FLOOR / 10)))


def _transforms(samples: np.ndarray, hop: int) -> np.ndarray:
    """Fourier transforms [1 + T // hop, 129] of 256 samples about every hop-th, in a window."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, _WINDOW // 2), _WINDOW)
    return np.fft.rfft(frames[::hop] * np.hanning(_WINDOW + 1)[:-1])


def _names() -> list[str]:
    """Take by take, so that each stretch of 60 has every digit by every speaker."""
    return [
        f"{digit}_{speaker}_{take}.wav"
        for take in range(TAKES)
        for speaker in SPEAKERS
        for digit in range(10)
    ]


def _read(root: files.Root) -> list[np.ndarray]:
    """The recordings in the order of `_names`, from the first folder that has them."""
    for folder in files.folders("fsdd", root):
        if files.is_file(folder / ARCHIVE):
            return _unpacked(folder / ARCHIVE)
        if files.is_folder(folder / FOLDER):
            paths = [folder / FOLDER / name for name in _names()]
            found = {path.name: files.read(path, _BYTES) for path in paths if files.is_file(path)}
            return _checked(folder / FOLDER, found)
    return _unpacked(files.snapshot("fsdd", ARCHIVE, REPOSITORY, COMMIT))


def _unpacked(path: Path) -> list[np.ndarray]:
    limit = 2 * TAKES * len(SPEAKERS) * 10 * 8_192  # twice what they have, with headers
    return _checked(path, files.members(path, _NAME, _BYTES, limit))


def _checked(path: Path, found: dict[str, bytes]) -> list[np.ndarray]:
    recordings = []
    for name in _names():
        if name not in found:
            raise files.damaged(path, f"the recording {name} is missing")
        try:
            recordings.append(read_wav(found[name]))
        except DataError as error:
            raise files.damaged(path, f"{name}: {error}") from None
    content = b"".join(found[name] for name in _names())
    files.check_content(path, content, SHA256, "fsdd's recordings")
    return recordings
