"""What word vectors are learned from, and tested on."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import lzma
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dlcore import data
from dlcore.data import DataError
from tests.budget import examples

analogies, novels, word_pairs = (
    importlib.import_module(f"dlcore.data.{name}") for name in ("analogies", "novels", "word_pairs")
)

TEXT = "=== A_One_1900 ===\nIt's a dog.\n=== B_Two_1901 ===\nTwo dogs — and 3 CATS\n"
PAIRS = "tiger\tcat\t7.35\nplane\tcar\t5.77\n"
QUESTIONS = ": family\nboy girl he she\n: gram1\nbad badly calm calmly\nbad badly apt aptly\n"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder of small files in the places of the real ones."""
    (tmp_path / "text" / "similarity").mkdir(parents=True)
    (tmp_path / "text" / "novels.txt.xz").write_bytes(lzma.compress(TEXT.encode()))
    (tmp_path / "text" / "similarity" / "pairs.txt").write_text(PAIRS)
    (tmp_path / "text" / "questions-words.txt").write_text(QUESTIONS)
    monkeypatch.setattr(novels, "SHA256", digest(TEXT))
    monkeypatch.setattr(novels, "SOURCE", "http://127.0.0.1:0/")
    monkeypatch.setattr(analogies, "SHA256", digest(QUESTIONS))
    small = word_pairs.File("pairs.txt", 2, digest(PAIRS))
    monkeypatch.setattr(word_pairs, "SETS", {"small": small})
    for module in (word_pairs, analogies):
        monkeypatch.setattr(module, "MIRRORS", ("http://127.0.0.1:0/",))
    return tmp_path


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_files_are_read(files):
    texts = data.novels(files)
    assert texts == {"A_One_1900": "It's a dog.\n", "B_Two_1901": "Two dogs — and 3 CATS\n"}
    assert data.lower_words(texts["B_Two_1901"]) == ["two", "dogs", "and", "cats"]
    pairs = data.word_pairs("small", files)
    assert pairs.words == [("tiger", "cat"), ("plane", "car")]
    np.testing.assert_array_equal(pairs.scores, [7.35, 5.77])
    assert data.analogies(files) == {
        "family": [("boy", "girl", "he", "she")],
        "gram1": [("bad", "badly", "calm", "calmly"), ("bad", "badly", "apt", "aptly")],
    }


LOADERS = {
    "novels": (data.novels, "novels.txt.xz"),
    "pairs": (lambda root: data.word_pairs("small", root), "similarity/pairs.txt"),
    "analogies": (data.analogies, "questions-words.txt"),
}


@pytest.mark.parametrize("name", LOADERS)
def test_a_missing_or_damaged_file_is_refused(name, files, cache):
    load, place = LOADERS[name]
    path = files / "text" / place
    content = path.read_bytes()

    def refusal():
        with pytest.raises(DataError) as error:
            load(files)
        assert "\n" not in str(error.value)
        return str(error.value)

    spoiled = content.replace(b"cat", b"car").replace(b"girl", b"gril")
    if name == "novels":
        spoiled = lzma.compress(TEXT.replace("dog", "god").encode())
        path.write_bytes(content[:-20])
        assert "is cut short" in refusal()
        path.write_bytes(b"no xz file at all, but words")
        assert "not a sound xz file" in refusal()
    path.write_bytes(spoiled)
    assert "the content is not" in refusal()
    path.unlink()
    assert str(cache) in refusal()


def test_a_set_is_downloaded_once(files, server, cache, monkeypatch):
    """From a pinned commit."""
    import pooch

    monkeypatch.setattr(pooch.get_logger(), "handlers", [])
    monkeypatch.setattr(analogies, "MIRRORS", (server.url,))
    server.files = {"questions-words.txt": QUESTIONS.encode()}
    (files / "text" / "questions-words.txt").unlink()
    assert len(data.analogies()) == len(data.analogies(files)) == 2
    assert len(server.asked) == 1


def test_the_novels_are_downloaded_once_and_joined(files, server, cache, monkeypatch):
    """As the source has them: with a mark of their order of bytes and two signs a line."""
    monkeypatch.setattr(novels, "NAMES", "A_One_1900 B_Two_1901")
    monkeypatch.setattr(novels, "SOURCE", server.url)
    (files / "text" / "novels.txt.xz").unlink()
    server.files = {"A_One_1900.txt": b"\xef\xbb\xbf\r\nOne\r\ntwo.\r\n", "B_Two_1901.txt": b"Dogs"}
    with pytest.raises(DataError, match="has other texts now"):
        data.novels(files)
    assert not list(cache.rglob("*.xz"))
    joined = "=== A_One_1900 ===\nOne\ntwo.\n\n=== B_Two_1901 ===\nDogs\n\n"
    monkeypatch.setattr(novels, "SHA256", digest(joined))
    for _ in range(2):
        found = data.novels()
        assert {name: text.strip() for name, text in found.items()} == {
            "A_One_1900": "One\ntwo.",
            "B_Two_1901": "Dogs",
        }
    assert len(server.asked) == 4


def test_unknown_pairs_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'simlex999'"):
        data.word_pairs("simlex")


def test_real_sets(shared_data):
    sizes = {name: len(data.word_pairs(name, shared_data).words) for name in word_pairs.SETS}
    assert sizes == {"wordsim353": 353, "simlex999": 999, "men": 3_000}
    sections = data.analogies(shared_data)
    assert len(sections) == 14
    assert sum(map(len, sections.values())) == 19_544
    assert len(sections["family"]) == 506


@pytest.mark.slow
def test_real_novels(shared_data):
    texts = data.novels(shared_data)
    assert len(texts) == 95
    assert 13.8e6 < sum(len(data.lower_words(text)) for text in texts.values()) < 14e6


# ------------------------------------------------------------------------------------- subsampling


def test_words_are_kept_as_often_as_the_formula_says():
    counts = np.array([50_000, 3_000, 400, 30, 1])
    f = counts / counts.sum()
    expected = np.minimum(1, np.sqrt(0.01 / f) + 0.01 / f)
    np.testing.assert_allclose(data.keep_probability(counts, 0.01), expected)
    ids = np.repeat(np.arange(3, dtype=np.int32), 5_000)
    kept = np.bincount(data.subsample(ids, counts, threshold=0.01, seed=1), minlength=3)
    for seen, share in zip(kept, expected, strict=False):
        assert stats.binomtest(seen, 5_000, min(1, share)).pvalue > 1e-3
    assert (data.subsample(ids, counts, seed=1) != data.subsample(ids, counts, seed=2)[:1]).any()


def test_nothing_is_left_out_where_nothing_should_be():
    ids = np.arange(4, dtype=np.int32)
    np.testing.assert_array_equal(data.subsample(ids, np.full(4, 9), threshold=0), ids)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.keep_probability([3, 0]), "counts is .* numbers above 0"),
        (lambda: data.keep_probability([3], 2), "threshold is 2, but a share"),
        (lambda: data.blocks([[1]], 0, 2), "length=0: give a whole number"),
        (lambda: data.phrase_scores([], minimum=0), "minimum=0: give a whole number"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ------------------------------------------------------------------------------------------ blocks


@examples(60)
@given(st.lists(st.integers(0, 9), max_size=5), st.integers(1, 5), st.integers(0, 3))
def test_every_word_is_once_in_the_middle_with_what_is_around_it(sizes, length, halo):
    numbers = iter(range(100))
    texts = [np.array([next(numbers) for _ in range(size)], np.int32) for size in sizes]
    rows = data.blocks(texts, length, halo)
    assert rows.dtype == np.int32
    assert rows.shape[1] == length + 2 * halo
    middle = rows[:, halo : halo + length].ravel()
    assert middle[middle >= 0].tolist() == list(range(sum(sizes)))
    own = {int(word): text for text in texts for word in text}
    for row, at in itertools.product(rows, range(halo, halo + length)):
        if row[at] < 0:
            continue
        text = own[int(row[at])].tolist()
        place = text.index(row[at])
        for step in range(-halo, halo + 1):
            inside = 0 <= place + step < len(text)
            assert (row[at + step] == text[place + step]) if inside else row[at + step] not in text


# ----------------------------------------------------------------------------------------- phrases


@examples(60)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=12), max_size=4), st.integers(1, 3))
def test_phrases_score_what_the_formula_says(texts, minimum):
    scores = data.phrase_scores(texts, minimum=minimum, discount=1)
    words = Counter(word for text in texts for word in text)
    for a, b in itertools.product("abc", repeat=2):
        together = sum(text[k : k + 2] == [a, b] for text in texts for k in range(len(text)))
        if together > 1 and min(words[a], words[b]) >= minimum:
            expected = words.total() * (together - 1) / (words[a] * words[b])
            assert scores.pop((a, b)) == pytest.approx(expected)
    assert not scores


def test_phrases_are_joined_from_the_left():
    text = ["in", "new", "york", "city", "new", "york"]
    scores = {("new", "york"): 9.0, ("york", "city"): 9.0, ("in", "new"): 2.0}
    joined = data.join_phrases(text, scores, threshold=2.0)
    assert joined == ["in", "new_york", "city", "new_york"]
    again = {("new_york", "city"): 9.0}
    assert data.join_phrases(joined, again, threshold=2.0)[1] == "new_york_city"
    assert data.join_phrases([], scores) == []


def test_what_stands_together_is_a_phrase():
    rng = np.random.default_rng(0)
    text = [word for drawn in rng.choice([*"abcdefgh"], (300, 4)) for word in (*drawn, "x", "y")]
    scores = data.phrase_scores([text])
    assert max(scores, key=scores.get) == ("x", "y")
