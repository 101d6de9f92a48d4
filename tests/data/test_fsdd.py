from __future__ import annotations

import hashlib
import io
import tarfile
import wave

import jax
import numpy as np
import pytest
from scipy import signal
from sklearn.neighbors import KNeighborsClassifier

from dlcore import data
from dlcore.data import DataError, files, fsdd
from dlcore.data.augment import audio

TAKES = 7


def wav(samples, channels=1, width=2, rate=8_000):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


def noise(rng, count):
    return rng.integers(-20_000, 20_000, count).astype("<i2")


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    """Seven takes by two speakers in the folder `recordings`, as samples by name."""
    monkeypatch.setattr(fsdd, "SPEAKERS", ("george", "theo"))
    monkeypatch.setattr(fsdd, "TAKES", TAKES)
    rng = np.random.default_rng(0)
    samples = {name: noise(rng, rng.integers(100, 2_000)) for name in fsdd._names()}
    (tmp_path / "recordings").mkdir()
    for name, values in samples.items():
        (tmp_path / "recordings" / name).write_bytes(wav(values))
    content = b"".join(map(wav, samples.values()))
    monkeypatch.setattr(fsdd, "SHA256", hashlib.sha256(content).hexdigest())
    return samples


def test_splits_labels_and_images(recordings, tmp_path):
    loaded = data.load("fsdd", tmp_path, validation=20, size=16)
    takes = {"test": range(5), "train": [5], "validation": [6]}
    for split, wanted in takes.items():
        arrays = getattr(loaded, split)
        names = [f"{d}_{who}_{t}.wav" for t in wanted for who in fsdd.SPEAKERS for d in range(10)]
        assert arrays["y"].tolist() == [int(name[0]) for name in names]
        for image, name in zip(arrays["x"][..., 0], names, strict=True):
            picture = fsdd.spectrogram(recordings[name] / 32_768)[None, ..., None]
            np.testing.assert_allclose(image, data.resize(picture, 16)[0, ..., 0], atol=1e-6)
    assert loaded.classes[7] == "7"


def test_sequences_are_mel_spectrograms_with_their_ends_masked(recordings, tmp_path):
    found = data.fsdd_sequences(tmp_path, steps=12, bands=20, hop=100)
    names = list(recordings)
    assert [(x.dtype, x.shape) for x in found.values()] == [
        (np.float32, (140, 12, 20)),
        (bool, (140, 12)),
        (np.int32, (140,)),
        (np.int32, (140,)),
    ]
    who = [fsdd.SPEAKERS[one] for one in found["speaker"]]
    assert [*zip(map(str, found["y"]), who, strict=True)] == [
        tuple(name.split("_")[:2]) for name in names
    ]
    lengths = [min(12, 1 + len(recordings[name]) // 100) for name in names]
    assert found["mask"].tolist() == [[t < length for t in range(12)] for length in lengths]
    assert not found["x"][~found["mask"]].any()
    longest = max(map(len, recordings.values()))
    padded = [
        np.pad(one, (0, longest - len(one))) / np.float32(32_768) for one in recordings.values()
    ]
    whole = jax.jit(jax.vmap(lambda x: audio.mel_spectrogram(x, 8_000, 20, hop=100)))(
        np.stack(padded)[:5]
    )
    for row, length in enumerate(lengths[:5]):
        np.testing.assert_allclose(found["x"][row, :length], whole[row, :length], atol=1e-4)


def test_an_archive_is_as_good_as_the_folder(recordings, tmp_path):
    (tmp_path / "data" / "fsdd").mkdir(parents=True)
    with tarfile.open(tmp_path / "data" / "fsdd" / "recordings.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "recordings", "recordings")
        archive.add(tmp_path / "recordings", "../recordings")
    folder = data.load("fsdd", tmp_path / "recordings" / "..", validation=20)
    for name in list((tmp_path / "recordings").iterdir()):
        name.unlink()
    archive = data.load("fsdd", tmp_path, validation=20)
    for split in ("train", "validation", "test"):
        for key in "xy":
            np.testing.assert_array_equal(getattr(archive, split)[key], getattr(folder, split)[key])


@pytest.mark.parametrize("size", [0, -1, 1.5])
def test_an_impossible_size(recordings, tmp_path, size):
    with pytest.raises((TypeError, ValueError), match=f"size={size}: give a whole number"):
        data.load("fsdd", tmp_path, validation=20, size=size)


def refusal(root):
    with pytest.raises(DataError) as error:
        data.load("fsdd", root, validation=20)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_damaged_recordings_are_named(recordings, tmp_path):
    path = tmp_path / "recordings" / "3_theo_6.wav"
    whole, samples = path.read_bytes(), recordings[path.name]
    form = "channels, bits and rate are"
    for content, message in (
        (b"", "not a sound WAV file"),
        (b"words, not a recording", "not a sound WAV file"),
        (whole[:30], "not a sound WAV file"),
        (whole[:-1], f"holds {samples.nbytes - 1} bytes of samples, but its header says"),
        (wav(samples[:0]), "holds 0 bytes of samples, but its header says 0"),
        (wav(samples, rate=16_000), f"{form} (1, 16, 16000), but (1, 16, 8000) are wanted"),
        (wav(samples.repeat(2), channels=2), f"{form} (2, 16, 8000), but"),
        (wav(samples.astype(np.uint8), width=1), f"{form} (1, 8, 8000), but"),
    ):
        path.write_bytes(content)
        assert f"{path.parent}: 3_theo_6.wav: {message}" in refusal(tmp_path)
    path.write_bytes(wav(samples ^ np.int16(1)))
    assert "the content is not fsdd's recordings" in refusal(tmp_path)
    path.unlink()
    assert "the recording 3_theo_6.wav is missing" in refusal(tmp_path)


def test_no_files(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(files, "ARCHIVES", "http://127.0.0.1:0/")
    message = refusal(tmp_path)
    assert f"recordings.tar.gz is neither in root nor in {cache}" in message
    assert "could not be downloaded from http://127.0.0.1:0/Jakobovski/free-spoken" in message


def test_they_are_downloaded_once(recordings, tmp_path, server, monkeypatch, cache):
    """As GitHub packs a repository; where the cache is a file, that is said."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(tmp_path / "recordings", f"free-spoken-digit-dataset-{fsdd.COMMIT}/recordings")
    server.files = {fsdd.COMMIT: packed.getvalue()}
    monkeypatch.setattr(files, "ARCHIVES", server.url)
    first, second = (data.load("fsdd", validation=20) for _ in range(2))
    np.testing.assert_array_equal(first.test["x"], second.test["x"])
    assert server.asked == [f"/good/{fsdd.REPOSITORY}/tar.gz/{fsdd.COMMIT}"]
    monkeypatch.setenv("DLCORE_DATA", __file__)
    with pytest.raises(DataError, match="DLCORE_DATA"):
        data.load("fsdd", validation=20)


# Spectrograms.


@pytest.mark.parametrize("count", [1, 100, 640, 5_003])
def test_spectrogram_is_scipys(count):
    samples = noise(np.random.default_rng(count), count) / np.float32(32_768)
    padded = np.pad(samples, (128, 128))
    transform = signal.ShortTimeFFT(signal.get_window("hann", 256), hop=64, fs=8_000)
    magnitude = np.abs(transform.stft(padded, p0=2, p1=3 + count // 64))
    decibels = 20 * np.log10(magnitude / magnitude.max())
    expected = 1 + np.clip(decibels, -80, 0) / 80
    picture = fsdd.spectrogram(samples)
    assert picture.dtype == np.float32
    assert picture.shape == (129, 1 + count // 64)
    np.testing.assert_allclose(picture, expected[::-1], atol=1e-5)


@pytest.mark.parametrize("frequency", [500, 1_000, 3_250])
@pytest.mark.parametrize("loudness", [1e-3, 1.0])
def test_a_tone_is_a_line_at_its_frequency(frequency, loudness):
    time = np.arange(4_000) / fsdd.RATE
    picture = fsdd.spectrogram(loudness * np.sin(2 * np.pi * frequency * time))
    inside = picture[:, 4:-4]
    assert (inside.argmax(axis=0) == 128 - frequency / 31.25).all()
    np.testing.assert_allclose(inside.max(axis=0), 1, atol=1e-3)
    assert np.median(inside) < 0.1


def test_silence_is_black():
    np.testing.assert_array_equal(fsdd.spectrogram(np.zeros(1_000)), np.zeros((129, 16)))


def test_real_recordings(shared_data):
    loaded = data.load("fsdd", shared_data)
    parts = (loaded.train, loaded.validation, loaded.test)
    assert [part["x"].shape for part in parts] == [(n, 32, 32, 1) for n in (2_400, 300, 300)]
    for part in parts:
        counts = np.bincount(part["y"], minlength=10)
        assert counts.tolist() == [len(part["y"]) // 10] * 10
    nearest = KNeighborsClassifier(1).fit(loaded.train["x"].reshape(2_400, -1), loaded.train["y"])
    assert nearest.score(loaded.test["x"].reshape(300, -1), loaded.test["y"]) > 0.95
