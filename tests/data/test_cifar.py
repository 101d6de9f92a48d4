from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

import numpy as np
import pytest

from dlcore import data
from dlcore.data import DataError, cifar

ARCHIVE = "cifar-10-binary.tar.gz"


def tar_gz(path, members):
    """A .tar.gz of (name, content) or finished TarInfo, in that order."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, content = member
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def link(name, target="/etc/passwd", kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


# The canonical binary form.


@pytest.fixture
def batches(monkeypatch):
    """Six batches of three random records, known to the loader by their SHA-256."""
    rng = np.random.default_rng(0)
    names = [*cifar.TRAIN_BATCHES, *cifar.TEST_BATCHES]
    batches = {}
    for name in names:
        records = rng.integers(0, 256, (3, 3073), np.uint8)
        records[:, 0] %= 10
        batches[name] = records.tobytes()
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in batches.items()}
    monkeypatch.setattr(cifar, "RECORDS", 3)
    monkeypatch.setattr(cifar, "TRAIN_BATCHES", {name: hashes[name] for name in names[:5]})
    monkeypatch.setattr(cifar, "TEST_BATCHES", {names[5]: hashes[names[5]]})
    monkeypatch.setattr(cifar, "MIRRORS", ("http://127.0.0.1:0/",))
    return batches


def members(batches):
    return [(f"cifar-10-batches-bin/{name}", content) for name, content in batches.items()]


def check_binary(batches, loaded):
    splits = [loaded.train, loaded.validation, loaded.test]
    x = np.concatenate([split["x"] for split in splits])
    y = np.concatenate([split["y"] for split in splits])
    assert [len(split["y"]) for split in splits] == [13, 2, 3]
    assert x.flags.c_contiguous
    content = b"".join(batches.values())
    for i in range(18):
        record = content[i * 3073 : (i + 1) * 3073]
        assert y[i] == record[0]
        for row, column, channel in ((0, 0, 0), (0, 31, 1), (5, 7, 2), (31, 30, 1)):
            value = record[1 + 1024 * channel + 32 * row + column]
            assert x[i, row, column, channel] == np.float32(value) / np.float32(255)
    assert "lossless" in loaded.description


def test_archive(batches, tmp_path):
    others = [("cifar-10-batches-bin/readme.html", b"<html>"), ("../evil.bin", b"evil")]
    others += [link("cifar-10-batches-bin/evil"), link("/data_batch_1.bin")]
    tar_gz(tmp_path / ARCHIVE, [*others, *members(batches)])
    check_binary(batches, data.load("cifar10", tmp_path, validation=2))
    assert [path.name for path in tmp_path.iterdir()] == [ARCHIVE]  # nothing was unpacked to disk


@pytest.mark.parametrize("inside", [".", "cifar10", "data/cifar10/cifar-10-batches-bin"])
def test_unpacked_batches(batches, tmp_path, inside):
    (tmp_path / inside).mkdir(parents=True, exist_ok=True)
    for name, content in batches.items():
        (tmp_path / inside / name).write_bytes(content)
    check_binary(batches, data.load("cifar10", tmp_path, validation=2))


def test_download(batches, tmp_path, server, cache, monkeypatch):
    tar_gz(tmp_path / ARCHIVE, members(batches))
    server.files[ARCHIVE] = (tmp_path / ARCHIVE).read_bytes()
    monkeypatch.setattr(cifar, "MIRRORS", (server.url,))
    monkeypatch.setattr(cifar, "ARCHIVE_SHA256", hashlib.sha256(server.files[ARCHIVE]).hexdigest())
    check_binary(batches, data.load("cifar10", validation=2))
    assert (cache / "cifar10" / ARCHIVE).is_file()


def refusal(root):
    with pytest.raises(DataError) as error:
        data.load("cifar10", root, validation=2)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_files_and_no_network(batches, tmp_path):
    assert "no connection" in refusal(tmp_path)


def test_damaged_batches(batches, tmp_path):
    for name, content in batches.items():
        (tmp_path / name).write_bytes(content)
    path = tmp_path / "data_batch_3.bin"
    path.write_bytes(batches[path.name][:-1])
    assert f"{path}: has 9,218 bytes, expected 9,219" in refusal(tmp_path)
    path.write_bytes(b"\x0b" + batches[path.name][1:])  # a label of 11
    assert "not cifar10's data_batch_3.bin" in refusal(tmp_path)
    path.unlink()
    assert f"{path}: missing" in refusal(tmp_path)


@pytest.mark.parametrize("part", range(16))
def test_truncated_archive(batches, tmp_path, part):
    tar_gz(tmp_path / ARCHIVE, members(batches))
    whole = (tmp_path / ARCHIVE).read_bytes()
    (tmp_path / ARCHIVE).write_bytes(whole[: len(whole) * part // 16])
    assert str(tmp_path / ARCHIVE) in refusal(tmp_path)


@pytest.mark.parametrize("part", range(16))
def test_truncated_tar_in_a_sound_gzip(batches, tmp_path, part):
    tar_gz(tmp_path / ARCHIVE, members(batches))
    whole = gzip.decompress((tmp_path / ARCHIVE).read_bytes())
    content = sum(512 + 9_219 + (-9_219) % 512 for _ in batches)
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(whole[: content * part // 16], 1))
    assert str(tmp_path / ARCHIVE) in refusal(tmp_path)


def test_hostile_archives(batches, tmp_path):
    good = members(batches)
    name, content = good[0]
    other = bytes([content[0] ^ 1]) + content[1:]
    for bad, message in (
        ([("../" + name, content), *good[1:]], "data_batch_1.bin is missing"),
        ([("/" + name, content), *good[1:]], "data_batch_1.bin is missing"),
        ([(name.replace("/", "\\"), content), *good[1:]], "data_batch_1.bin is missing"),
        ([link(name), *good[1:]], "there twice, a link or too long"),
        ([*good, link(name, good[1][0], tarfile.LNKTYPE)], "there twice, a link or too long"),
        ([link(name, kind=tarfile.CHRTYPE), *good[1:]], "there twice, a link or too long"),
        ([*good, good[0]], "there twice, a link or too long"),
        ([(name, content + b"\0"), *good[1:]], "there twice, a link or too long"),
        ([(name, other), *good[1:]], "not cifar10's data_batch_1.bin"),
        ([*good, ("large", bytes(3 << 20))], "unpacks to more than"),
    ):
        tar_gz(tmp_path / ARCHIVE, bad)
        assert message in refusal(tmp_path)


# The form with JPEG files.


@pytest.fixture
def pictures(monkeypatch):
    """Two JPEG files of each class to train, one to test, in turn."""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    rng = np.random.default_rng(0)

    def jpeg():
        pixels = np.kron(rng.integers(0, 256, (4, 4, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
        file = io.BytesIO()
        image.fromarray(pixels).save(file, "JPEG", quality=75)
        return file.getvalue()

    monkeypatch.setattr(cifar, "TRAIN_JPEGS", ("train.tar.gz", 2))
    monkeypatch.setattr(cifar, "TEST_JPEGS", ("test.tar.gz", 1))
    return {
        part: [(f"{name}/{i:04}.jpg", jpeg()) for i in range(n) for name in cifar.CLASSES]
        for part, n in (("train.tar.gz", 2), ("test.tar.gz", 1))
    }


def write(pictures, root, **changes):
    for part, members in pictures.items():
        tar_gz(root / part, changes.get(part.split(".")[0], members))


def test_jpegs(pictures, tmp_path):
    from PIL import Image

    write(pictures, tmp_path)
    loaded = data.load("cifar10", tmp_path, validation=3)
    assert "JPEG-coded" in loaded.description
    x = np.concatenate([loaded.train["x"], loaded.validation["x"]])
    y = np.concatenate([loaded.train["y"], loaded.validation["y"]])
    for part, images, labels in (
        ("train.tar.gz", x, y),
        ("test.tar.gz", loaded.test["x"], loaded.test["y"]),
    ):
        assert labels.tolist() == [i % 10 for i in range(len(pictures[part]))]
        for pixels, (_, content) in zip(images, pictures[part], strict=True):
            expected = np.asarray(Image.open(io.BytesIO(content)))
            np.testing.assert_array_equal(np.rint(pixels * 255), expected)


def test_lossless_is_preferred_in_a_folder(batches, pictures, tmp_path):
    write(pictures, tmp_path)
    tar_gz(tmp_path / ARCHIVE, members(batches))
    check_binary(batches, data.load("cifar10", tmp_path, validation=2))


def test_hostile_jpeg_archives(pictures, tmp_path):
    from PIL import Image

    def saved(shape, form="JPEG"):
        file = io.BytesIO()
        Image.fromarray(np.zeros(shape, np.uint8)).save(file, form)
        return file.getvalue()

    good = pictures["train.tar.gz"]
    name, content = good[0]
    for member, message in (
        (("../" + name, content), "holds [1, 2, 2, 2, 2, 2, 2, 2, 2, 2] pictures"),
        (("zebra/0000.jpg", content), "holds [1, 2,"),
        (good[1], "there twice, a link or too long"),
        (link(name), "there twice, a link or too long"),
        ((name, content + bytes(4_096)), "there twice, a link or too long"),
        ((name, b"words"), "airplane/0000.jpg is not a sound JPEG picture"),
        ((name, content[: len(content) // 2]), "not a sound JPEG picture"),
        ((name, saved((32, 32, 3), "PNG")), "not a sound JPEG picture"),
        ((name, saved((32, 32))), "not a picture of 32×32 pixels in RGB"),
        ((name, saved((32, 33, 3))), "not a picture of 32×32 pixels in RGB"),
    ):
        write(pictures, tmp_path, train=[member, *good[1:]])
        assert message in refusal(tmp_path)
    write(pictures, tmp_path)
    (tmp_path / "test.tar.gz").unlink()
    assert "missing" in refusal(tmp_path)


@pytest.mark.slow
def test_real_pictures(shared_data):
    pytest.importorskip("PIL", reason="needs Pillow")
    loaded = data.load("cifar10", shared_data)
    parts = (loaded.train, loaded.validation, loaded.test)
    assert [part["x"].shape for part in parts] == [(n, 32, 32, 3) for n in (45_000, 5_000, 10_000)]
    x = np.concatenate([loaded.train["x"], loaded.validation["x"]])
    y = np.concatenate([loaded.train["y"], loaded.validation["y"]])
    assert np.bincount(y).tolist() == [5_000] * 10
    assert np.bincount(loaded.test["y"]).tolist() == [1_000] * 10
    mean = x.mean((0, 1, 2), dtype=np.float64)
    std = x.std((0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(mean, [0.4913, 0.4821, 0.4465], atol=6e-5)
    np.testing.assert_allclose(std, [0.2452, 0.2428, 0.2606], atol=6e-5)
