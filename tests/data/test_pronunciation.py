from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
import zlib

import numpy as np
import pooch
import pytest

from dlcore import data
from dlcore.data import DataError, nltk_data, pronunciation

TEXT = """A 1 AH0
A. 1 EY1
AT&T 1 EY1 T IY1
CAT 1 K AE1 T
EITHER 1 IY1 DH ER0
EITHER 2 AY1 DH ER0
EITHER 3 AY2 DH ER0
INK 1 IH1 NG K
OWL 1 AW1 L
SUPERCALIFRAGILISTICALLY 1 S UW1 P ER0
CAF\xc9 1 K AH0 F EY1
"""  # ink is for the test and owl for validation by CRC-32


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A few words in place of the dictionary."""
    content = TEXT.encode("latin-1")
    monkeypatch.setenv("DLCORE_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(pronunciation, "_BYTES", len(content))
    monkeypatch.setattr(pronunciation, "SHA256", hashlib.sha256(content).hexdigest())
    (tmp_path / "cmudict.gz").write_bytes(gzip.compress(content))
    return tmp_path


def test_words_become_rows(small):
    loaded = data.load("pronunciation", small)
    assert loaded.words == {
        "train": ("cat", "either", "either"),
        "validation": ("owl",),
        "test": ("ink",),
    }
    assert loaded.said["either"] == (("IY", "DH", "ER"), ("AY", "DH", "ER"))
    cat = {name: leaf[0] for name, leaf in loaded.train.items()}
    assert "".join(loaded.letters.decode(cat["source"][cat["source_mask"]])) == "cat"
    assert loaded.phonemes.decode(cat["x"][cat["mask"]]) == ["<start>", "K", "AE", "T"]
    assert loaded.phonemes.decode(cat["y"][cat["mask"]]) == ["K", "AE", "T", "<end>"]
    for split in ("train", "validation", "test"):
        shapes = {name: leaf.shape[1:] for name, leaf in getattr(loaded, split).items()}
        steps = dict.fromkeys(("x", "y", "mask"), (21,))
        assert shapes == steps | dict.fromkeys(("source", "source_mask"), (20,))
    with_stress = data.load("pronunciation", small, stress=True)
    assert len(with_stress.said["either"]) == 3
    assert "AH0" not in with_stress.phonemes.numbers  # of A, which is no word here
    assert "2 words, 3 examples" in repr(loaded)


def test_a_missing_or_another_dictionary_is_refused(small, monkeypatch):
    (small / "cmudict.gz").write_bytes(gzip.compress(TEXT.replace("K AE1", "K AA1").encode("l1")))
    with pytest.raises(DataError, match="the CMU dictionary"):
        data.load("pronunciation", small)
    (small / "cmudict.gz").unlink()
    monkeypatch.setattr(nltk_data, "MIRRORS", ("http://127.0.0.1:0/",))
    with pytest.raises(DataError, match=r"cmudict\.zip is neither in root nor in .* not be downl"):
        data.load("pronunciation", small)


def test_it_is_downloaded_once(small, server, monkeypatch):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("cmudict/cmudict", TEXT.encode("latin-1"))
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    monkeypatch.setattr(pooch.get_logger(), "handlers", [])
    monkeypatch.setitem(nltk_data.ARCHIVES, "cmudict", digest)
    monkeypatch.setattr(nltk_data, "MIRRORS", (server.url,))
    server.files = {"cmudict.zip": packed.getvalue()}
    for _ in range(2):
        assert data.load("pronunciation").words == data.load("pronunciation", small).words
    assert len(server.asked) == 1


@pytest.mark.slow
def test_the_real_dictionary(shared_data):
    """No word is in two splits, each belongs to its own by its CRC-32, and nothing is cut off."""
    loaded = data.load("pronunciation", shared_data)
    words = {split: {*of_split} for split, of_split in loaded.words.items()}
    counts = {split: (len(one), len(loaded.words[split])) for split, one in words.items()}
    assert counts == {
        "train": (104_028, 112_284),
        "validation": (5_770, 5_770),
        "test": (5_706, 5_706),
    }
    assert not words["train"] & (words["validation"] | words["test"])
    assert all(zlib.crc32(word.encode()) % 20 == 0 for word in words["test"])
    assert len(loaded.phonemes) == 3 + 39
    for name in ("x", "y"):
        assert loaded.train[name][loaded.train["mask"]].min() > 0
    ends = np.take_along_axis(loaded.test["y"], loaded.test["mask"].sum(1)[:, None] - 1, 1)
    assert {*ends[:, 0].tolist()} == {2}
