from __future__ import annotations

import gzip
import hashlib
import io
import zipfile

import numpy as np
import pytest

from dlcore import data
from dlcore.data import DataError, nltk_data, tagging

TRAIN = """The DT B-NP
cat NN I-NP
sat VBD B-VP

the DT B-NP
cat NN I-NP
sat VBD B-VP
unquestioningly-well RB B-ADVP

A DT B-NP
dog NN I-NP

"""
TEST = """The DT B-NP
Dog NN I-NP
slept VBD B-VP

"""
CONLLU = """# sent_id = 1
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\tMood=Ind|Number=Sing\t0\troot\t_\t_
2\tn't\tnot\tPART\tRB\tPolarity=Neg\t1\tadvmod\t_\t_
2.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_

# sent_id = 2
1\tDo\tdo\tVERB\tVB\t_\t0\troot\t_\t_

"""


def file(name, text):
    content = text.encode()
    return tagging.Text(name, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def conll(tmp_path, monkeypatch):
    """Three sentences to train and one to test, in place of the shared task's."""
    monkeypatch.setenv("DLCORE_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(tagging, "CONLL_2000", (file("train.txt", TRAIN), file("test.txt", TEST)))
    monkeypatch.setattr(nltk_data, "MIRRORS", ("http://127.0.0.1:0/",))
    (tmp_path / "train.txt.gz").write_bytes(gzip.compress(TRAIN.encode()))
    (tmp_path / "test.txt").write_text(TEST)
    return tmp_path


def test_sentences_become_arrays(conll):
    loaded = data.load("conll2000", conll, validation=1)
    assert loaded.words.tokens == ("<pad>", "<unk>", "the", "cat", "sat")  # seen twice
    train = loaded.train
    assert train["x"].tolist() == [[2, 3, 4, 0], [2, 3, 4, 1]]
    assert train["mask"].tolist() == [[True] * 3 + [False], [True] * 4]
    chunks, pos = loaded.tags["chunk"], loaded.tags["pos"]
    assert chunks.tokens == ("O", "B-ADVP", "I-ADVP", "B-NP", "I-NP", "B-VP", "I-VP")
    assert chunks.decode(train["chunk"][1]) == ["B-NP", "I-NP", "B-VP", "B-ADVP"]
    assert pos.decode(train["pos"][0, :3]) == ["DT", "NN", "VBD"]
    spelled = ["".join(loaded.letters.decode(word[word > 0])) for word in train["letters"][1]]
    assert spelled == ["the", "cat", "sat", "unquestingly-well"[:8] + "gly-well"]
    assert loaded.validation["x"].shape == (1, 2)
    assert loaded.test["x"].tolist() == [[2, 1, 1]]
    assert "2 sentences, 7 words" in repr(loaded)


def test_all_may_be_learned_from(conll):
    loaded = data.load("conll2000", conll, validation=0)
    assert len(loaded.train["x"]) == 3
    assert loaded.validation["x"].shape == (0, 0)
    with pytest.raises(ValueError, match="validation=3"):
        data.load("conll2000", conll, validation=3)


def test_conllu_is_read_without_comments_ranges_and_empty_words(tmp_path, monkeypatch):
    names = [one.name for one in tagging.UD_ENGLISH_EWT]
    monkeypatch.setattr(tagging, "UD_ENGLISH_EWT", [file(name, CONLLU) for name in names])
    for name in names:
        (tmp_path / name).write_text(CONLLU)
    loaded = data.load("ud_english_ewt", tmp_path)
    assert loaded.tags["pos"].tokens == ("AUX", "PART", "VERB")
    assert loaded.train["pos"].tolist() == [[0, 1], [2, 0]]
    assert loaded.words.decode(loaded.test["x"][0]) == ["do", "<unk>"]
    with_features = data.load("ud_english_ewt", tmp_path, morphology=True)
    names = with_features.tags["morphology"].tokens
    assert names == ("Mood=Ind", "Number=Sing", "Polarity=Neg")
    expected = [[[1, 1, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]]
    np.testing.assert_array_equal(with_features.train["morphology"], np.array(expected, bool))
    for name in loaded.train:
        np.testing.assert_array_equal(loaded.train[name], with_features.train[name])


def test_the_chunks_are_downloaded_once(conll, server, monkeypatch):
    import pooch

    monkeypatch.setattr(pooch.get_logger(), "handlers", [])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in (("train.txt", TRAIN), ("test.txt", TEST)):
            archive.writestr(f"conll2000/{name}", text)
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    monkeypatch.setitem(nltk_data.ARCHIVES, "conll2000", digest)
    monkeypatch.setattr(nltk_data, "MIRRORS", (server.url,))
    server.files = {"conll2000.zip": packed.getvalue()}
    here, there = (data.load("conll2000", root, validation=1) for root in (conll, None))
    np.testing.assert_array_equal(here.train["chunk"], there.train["chunk"])
    assert here.words == there.words
    assert len(server.asked) == 1


def test_the_treebank_is_downloaded_once(server, monkeypatch):
    import pooch

    monkeypatch.setattr(pooch.get_logger(), "handlers", [])
    names = [one.name for one in tagging.UD_ENGLISH_EWT]
    monkeypatch.setattr(tagging, "UD_ENGLISH_EWT", [file(name, CONLLU) for name in names])
    monkeypatch.setattr(tagging, "EWT_MIRRORS", (server.url,))
    server.files = {name: CONLLU.encode() for name in names}
    for _ in range(2):
        assert data.load("ud_english_ewt").train["pos"].tolist() == [[0, 1], [2, 0]]
    assert len(server.asked) == 3


def test_what_is_missing_or_damaged_is_told(conll):
    (conll / "test.txt").write_text(TEST.replace("slept", "slapt"))
    with pytest.raises(DataError, match=r"the content is not conll2000's test\.txt"):
        data.load("conll2000", conll)
    (conll / "test.txt").unlink()
    with pytest.raises(DataError, match=r"conll2000\.zip is neither in root nor in"):
        data.load("conll2000", conll)


def test_a_line_of_another_form_is_told(conll, monkeypatch):
    bad = TEST.replace("Dog NN I-NP", "Dog I-NP")
    (conll / "test.txt").write_text(bad)
    files = (file("train.txt", TRAIN), file("test.txt", bad))
    monkeypatch.setattr(tagging, "CONLL_2000", files)
    with pytest.raises(DataError, match="has the line 'Dog I-NP', not of 3 cells"):
        data.load("conll2000", conll)


@pytest.mark.slow
def test_the_real_sets_have_the_published_counts(shared_data):
    loaded = data.load("conll2000", shared_data, validation=0)
    counts = {"train": (8_936, 211_727), "test": (2_012, 47_377)}
    for split, count in counts.items():
        mask = getattr(loaded, split)["mask"]
        assert (len(mask), mask.sum()) == count
    assert [len(loaded.tags[kind]) for kind in ("pos", "chunk")] == [44, 23]
    counts = {"train": (12_544, 204_577), "validation": (2_001, 25_147), "test": (2_077, 25_094)}
    loaded = data.load("ud_english_ewt", shared_data)
    for split, count in counts.items():
        mask = getattr(loaded, split)["mask"]
        assert (len(mask), mask.sum()) == count
    assert len(loaded.tags["pos"]) == 17
    assert len(data.load("ud_english_ewt", shared_data, morphology=True).tags["morphology"]) == 63
    assert np.all(loaded.train["x"][loaded.train["mask"]] > 0)
