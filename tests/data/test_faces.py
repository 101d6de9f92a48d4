from __future__ import annotations

import hashlib
import io
import tarfile

import numpy as np
import pytest

from dlcore import data
from dlcore.data import DataError, faces, files

HEIGHT, WIDTH, PICTURES = 5, 4, 2


def pgm(pixels, space=b"\n"):
    header = [b"P5", b"%d" % pixels.shape[1], b"%d" % pixels.shape[0], b"255"]
    return space.join(header) + b"\n" + pixels.tobytes()


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Two small pictures of each person in folders, their headers parted by newlines or blanks."""
    for name, value in {"HEIGHT": HEIGHT, "WIDTH": WIDTH, "PICTURES": PICTURES}.items():
        monkeypatch.setattr(faces, name, value)
    pixels = np.random.default_rng(0).integers(0, 256, (80, HEIGHT, WIDTH), np.uint8)
    for k, (name, one) in enumerate(zip(faces._names(), pixels, strict=True)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pgm(one, b" " if k % 3 else b"\n"))
    monkeypatch.setattr(faces, "SHA256", hashlib.sha256(pixels.tobytes()).hexdigest())
    return pixels


def persons(part):
    return set(part["y"].tolist())


def test_persons_are_held_out(pictures, tmp_path):
    loaded = [data.load("att_faces", tmp_path, split=split) for split in range(5)]
    for one in loaded:
        parts = one.train, one.validation, one.test
        assert [len(persons(part)) for part in parts] == [20, 10, 10]
        assert set.union(*map(persons, parts)) == set(range(40))
        for part in parts:
            rows = np.repeat(2 * part["y"], 1) + np.arange(len(part["y"])) % 2
            np.testing.assert_array_equal(part["x"][..., 0], pictures[rows] / np.float32(255))
    assert len({frozenset(persons(one.test)) for one in loaded}) == 5
    assert len({frozenset(persons(one.validation)) for one in loaded}) == 1
    assert loaded[0].classes[7] == "s8"


def test_an_archive_is_as_good_as_folders(pictures, tmp_path):
    folders = data.load("att_faces", tmp_path)
    (tmp_path / "sets").mkdir()
    with tarfile.open(tmp_path / "sets" / faces.ARCHIVE, "w:gz") as archive:
        archive.add(tmp_path / "s1", "att_faces/s1")  # in a folder of its own or not
        for person in range(2, 41):
            archive.add(tmp_path / f"s{person}", f"s{person}")
    archive = data.load("att_faces", tmp_path / "sets")
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(archive, split)["x"], getattr(folders, split)["x"])


def refusal(root):
    with pytest.raises(DataError) as error:
        data.load("att_faces", root)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_damaged_pictures_are_named(pictures, tmp_path):
    path = tmp_path / "s3" / "2.pgm"
    whole = path.read_bytes()
    for content, message in (
        (b"", "not a binary PGM file"),
        (b"P2 4 5 255\n", "not a binary PGM file"),
        (whole[:-1], "holds 19 bytes of pixels for 5 × 4, the highest 255"),
        (pgm(np.zeros((4, 5), np.uint8)), "has (4, 5) pixels, not (5, 4)"),
    ):
        path.write_bytes(content)
        assert "s3/2.pgm" in refusal(tmp_path)
        assert message in refusal(tmp_path)
    path.write_bytes(pgm(~pictures[5]))
    assert "the content is not the AT&T faces" in refusal(tmp_path)
    path.unlink()
    assert "the picture s3/2.pgm is missing" in refusal(tmp_path)


def test_no_files(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(files, "ARCHIVES", "http://127.0.0.1:0/")
    message = refusal(tmp_path)
    assert f"att_faces.tar.gz is neither in root nor in {cache}" in message
    assert "could not be downloaded from http://127.0.0.1:0/surabhiiyer/" in message


def test_they_are_downloaded_once(pictures, tmp_path, server, monkeypatch):
    """As GitHub packs a repository: in a folder of its name, beside other files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(__file__, f"CreepyTeddy--{faces.COMMIT}/README.md")
        for person in range(1, 41):
            where = f"CreepyTeddy--{faces.COMMIT}/att_faces/s{person}"
            archive.add(tmp_path / f"s{person}", where)
    server.files = {faces.COMMIT: packed.getvalue()}
    monkeypatch.setattr(files, "ARCHIVES", server.url)
    first, second = data.load("att_faces"), data.load("att_faces")
    np.testing.assert_array_equal(first.test["x"], second.test["x"])
    assert server.asked == [f"/good/{faces.REPOSITORY}/tar.gz/{faces.COMMIT}"]


@pytest.mark.parametrize("split", [-1, 5])
def test_an_unknown_split(pictures, tmp_path, split):
    with pytest.raises(ValueError, match=f"split={split}: give a whole number from 0 to 4"):
        data.load("att_faces", tmp_path, split=split)


def test_real_faces(shared_data):
    loaded = data.load("att_faces", shared_data)
    parts = loaded.train, loaded.validation, loaded.test
    assert [part["x"].shape for part in parts] == [(n, 112, 92, 1) for n in (200, 100, 100)]
    pixels = 255 * np.concatenate([part["x"] for part in parts])
    np.testing.assert_allclose([pixels.mean(), pixels.std()], [110.87, 50.70], atol=0.02)
