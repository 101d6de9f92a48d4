from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
import zlib

import numpy as np
import pooch
import pytest

from dlcore import data
from dlcore.data import DataError, labelled_texts, nltk_data

TRAIN = """HUM:ind Who wrote Emma ?
LOC:city Where is Bath ?
HUM:ind Who wrote Emma ?
NUM:date When was Bath built ?

"""
TEST = """LOC:city Where is  Bath ?
HUM:ind Who wrote Persuasion ?
"""


def pack(folder, name, **parts):
    """An archive of these files."""
    with tarfile.open(folder / name, "w:gz") as archive:
        for part, text in parts.items():
            member = tarfile.TarInfo(f"inside/{part.replace('_', '.')}")
            member.size = len(text.encode("latin-1"))
            archive.addfile(member, io.BytesIO(text.encode("latin-1")))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Four questions and two in place of TREC's."""
    monkeypatch.setenv("DLCORE_DATA", str(tmp_path / "cache"))
    parts = {"train.txt": TRAIN, "test.txt": TEST}
    monkeypatch.setattr(
        labelled_texts,
        "QUESTIONS",
        [
            labelled_texts.Part(name, hashlib.sha256(text.encode()).hexdigest())
            for name, text in parts.items()
        ],
    )
    pack(tmp_path, "question_classification.tar.gz", train_txt=TRAIN, test_txt=TEST)
    return tmp_path


def test_questions_become_rows(small):
    """What the test has too is not learned, and words seen once are unknown."""
    loaded = data.load("questions", small)
    learned = {**dict.fromkeys(loaded.texts["train"]), **dict.fromkeys(loaded.texts["validation"])}
    assert {*learned} == {"who wrote emma ?", "when was bath built ?"}
    assert loaded.texts["test"] == ("where is bath ?", "who wrote persuasion ?")
    assert loaded.test["y"].tolist() == [4, 3]
    known = [loaded.words.tokens[number] for number in loaded.test["x"][1]]
    assert known[:2] + known[3:] == ["who", "wrote", "?", "<pad>"]
    assert known[2] == "<unk>"
    np.testing.assert_array_equal(loaded.test["mask"].sum(1), [4, 4])
    assert "LabelledTexts questions" in repr(loaded)
    texts, classes = loaded.pooled()
    assert len(texts) == len(classes) == len(learned_rows(loaded)) + 2
    assert dict(zip(texts, classes.tolist(), strict=True))["who wrote persuasion ?"] == 3


def learned_rows(loaded):
    return [*loaded.train["x"], *loaded.validation["x"]]


def test_a_missing_or_another_archive_is_refused(small, monkeypatch):
    pack(small, "question_classification.tar.gz", train_txt=TRAIN, test_txt=TRAIN)
    with pytest.raises(DataError, match=r"questions's test\.txt"):
        data.load("questions", small)
    monkeypatch.setattr(nltk_data, "MIRRORS", ("http://127.0.0.1:0/",))
    with pytest.raises(DataError, match=r"sentence_polarity: sentence_polarity\.zip is neither"):
        data.load("sentence_polarity", small)


def test_they_are_downloaded_once(small, server, monkeypatch):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in (("train.txt", TRAIN), ("test.txt", TEST)):
            archive.writestr(f"qc/{name}", text)
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    monkeypatch.setattr(pooch.get_logger(), "handlers", [])
    monkeypatch.setitem(nltk_data.ARCHIVES, "qc", digest)
    monkeypatch.setattr(nltk_data, "MIRRORS", (server.url,))
    server.files = {"qc.zip": packed.getvalue()}
    for _ in range(2):
        assert data.load("questions").texts == data.load("questions", small).texts
    assert len(server.asked) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("sentence_polarity", (8_573, 995, 1_094)),
        ("subjectivity", (8_033, 958, 1_009)),
        ("questions", (4_863, 578, 500)),
    ],
)
def test_the_real_sets_share_no_text(shared_data, name, counts):
    loaded = data.load(name, shared_data)
    assert tuple(map(len, loaded.texts.values())) == counts
    splits = [{*texts} for texts in loaded.texts.values()]
    assert not splits[0] & splits[1]
    assert not (splits[0] | splits[1]) & splits[2]
    if name != "questions":
        assert all(zlib.crc32(text.encode()) % 10 == 0 for text in splits[2])
    assert len(loaded.classes) == 1 + loaded.train["y"].max()
