"""Sentences as words and as numbers, and where synonyms come from."""

from __future__ import annotations

import os
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from dlcore.data import DataError
from dlcore.data.augment import each, text

THESAURUS = """\
# Words that one of these sentences has.
film: movie, picture
great: superb, very good

dull: boring, tedious , flat
film: motion picture, movie
"""
MYTHES = """\
UTF-8
dull|2
(adj)|boring|tedious (similar term)|exciting (antonym)
(adj)|blunt|knifelike (related term)
film|1
(noun)|movie|picture|show (generic term)|film
nothing|1
-|something (antonym)
Çırağan|1
(noun)|saray
"""
WORDS = ["the", "great", "film", "has", "a", "dull", "end", "but", "great", "cast"]
SYNONYMS = {"great": ("superb", "very good"), "film": ("movie",), "dull": ("flat", "boring")}
KEYS = [jax.random.key(i) for i in range(60)]


@pytest.fixture
def write(tmp_path):
    def write(content, encoding="utf-8"):
        path = tmp_path / "thesaurus"
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


# Words


def test_synonyms_take_the_place_of_their_words():
    seen = Counter()
    for key in KEYS:
        new = text.random_synonyms(key, WORDS, SYNONYMS, rate=0.2)  # two of ten words
        joined = " ".join(new).replace("very good", "very_good").split()
        changed = [(old, one) for old, one in zip(WORDS, joined, strict=True) if old != one]
        assert len(changed) == 2
        seen.update((old, one.replace("_", " ")) for old, one in changed)
    assert set(seen) == {(word, one) for word, synonyms in SYNONYMS.items() for one in synonyms}


def test_stop_words_and_words_without_synonyms_stay():
    assert text.random_synonyms(KEYS[0], WORDS, {"great": ()}, rate=1.0) == WORDS
    new = text.random_synonyms(KEYS[0], WORDS, SYNONYMS, rate=1.0, stop_words={"great", "dull"})
    assert [one for old, one in zip(WORDS, new, strict=True) if old != one] == ["movie"]
    assert text.random_insertion(KEYS[0], WORDS, SYNONYMS, 1.0, stop_words=SYNONYMS) == WORDS


def test_insertion_adds_synonyms_anywhere():
    places = set()
    for key in KEYS:
        new = text.random_insertion(key, WORDS, {"film": ("movie",)}, rate=0.1)
        assert sorted(new) == sorted([*WORDS, "movie"])
        places.add(new.index("movie"))
    assert len(places) == len(WORDS) + 1
    longer = text.random_insertion(KEYS[0], WORDS, {"film": ("motion picture",)}, rate=0.25)
    assert len(longer) == len(WORDS) + 2 * 3


def test_swap_exchanges_two_words():
    numbers = [str(i) for i in range(10)]
    pairs = set()
    for key in KEYS:
        new = text.random_swap(key, numbers, rate=0.1)
        moved = [i for i, (old, one) in enumerate(zip(numbers, new, strict=True)) if old != one]
        assert len(moved) == 2
        assert sorted(new) == numbers
        pairs.add(tuple(moved))
    assert len(pairs) > 25  # of 45


def test_deletion_loses_each_word_with_its_probability():
    words = [str(i) for i in range(400)]
    kept = text.random_deletion(KEYS[0], words, rate=0.3)
    assert kept == [word for word in words if word in set(kept)]
    assert len(kept) == pytest.approx(280, abs=28)  # three deviations
    left = {tuple(text.random_deletion(key, words[:3], rate=1.0)) for key in KEYS}
    assert left == {("0",), ("1",), ("2",)}


OF_WORDS = {
    "synonyms": partial(text.random_synonyms, thesaurus=SYNONYMS, rate=0.3),
    "insertion": partial(text.random_insertion, thesaurus=SYNONYMS, rate=0.3),
    "swap": partial(text.random_swap, rate=0.3),
    "deletion": partial(text.random_deletion, rate=0.3),
}


@pytest.mark.parametrize("augmentation", OF_WORDS.values(), ids=OF_WORDS)
def test_the_key_alone_decides(augmentation):
    before = list(WORDS)
    assert augmentation(jax.random.key(5), WORDS) == augmentation(jax.random.key(5), WORDS)
    assert len({tuple(augmentation(key, WORDS)) for key in KEYS}) > 5
    assert before == WORDS
    unchanged = partial(augmentation.func, **{**augmentation.keywords, "rate": 0.0})
    assert unchanged(KEYS[0], WORDS) == WORDS
    assert augmentation(KEYS[0], []) == []
    sentences = [WORDS, WORDS[:4], *[WORDS] * 6]
    found = text.each(augmentation)(jax.random.key(0), sentences)
    expected = [
        augmentation(jax.random.fold_in(jax.random.key(0), i), words)
        for i, words in enumerate(sentences)
    ]
    assert found == expected
    assert len(set(map(tuple, found))) > 2
    with pytest.raises(TypeError, match=r"words is a string.*\.split\(\)"):
        augmentation(KEYS[0], "a great film")
    with pytest.raises(TypeError, match=r"jax\.random\.key\(0\)"):
        augmentation(np.random.default_rng(0), WORDS)
    with pytest.raises(ValueError, match=r"rate is 1\.5, but 0 ≤ rate ≤ 1"):
        partial(augmentation.func, **{**augmentation.keywords, "rate": 1.5})(KEYS[0], WORDS)


# Numbers

IDS = jnp.array([7, 3, 9, 4, 5, 1, 8, 2, 0, 0, 0, 0], jnp.int32)


def test_ids_are_swapped_within_the_words():
    swap = jax.jit(text.ids.random_swap)
    pairs = set()
    for i in range(200):
        new = np.asarray(swap(jax.random.key(i), IDS, 0.1))
        assert sorted(new[:8]) == sorted(IDS[:8].tolist())
        np.testing.assert_array_equal(new[8:], 0)
        pairs.add(tuple(np.flatnonzero(new != np.asarray(IDS)).tolist()))
    assert pairs == {(i, j) for j in range(8) for i in range(j)}
    thrice = np.asarray(swap(jax.random.key(0), IDS, 0.3)) != np.asarray(IDS)
    assert 2 < thrice.sum() <= 6


def test_ids_that_are_left_move_together():
    delete = jax.jit(text.ids.random_deletion)
    lengths = []
    for i in range(200):
        new = np.asarray(delete(jax.random.key(i), IDS, 0.25))
        left = new[new != 0].tolist()
        assert left == [one for one in IDS.tolist() if one in left]
        np.testing.assert_array_equal(new[len(left) :], 0)
        lengths.append(len(left))
    assert np.mean(lengths) == pytest.approx(6, abs=3 * np.sqrt(8 * 0.25 * 0.75 / 200))
    left = {np.asarray(delete(jax.random.key(i), IDS, 1.0)).tobytes() for i in range(100)}
    assert left == {np.array([one, *[0] * 11], np.int32).tobytes() for one in IDS[:8].tolist()}


@pytest.mark.parametrize("name", ["random_swap", "random_deletion"])
def test_ids_in_batches_of_any_length(name):
    augmentation = partial(getattr(text.ids, name), rate=0.5, pad=-1)
    batch = jnp.array([[1, 2, 3, 4, 5, 6], [-1] * 6, [4, -1, -1, -1, -1, -1]], jnp.int16)
    batch = jnp.concatenate([batch, batch])
    one, again, other = (
        np.asarray(jax.jit(each(augmentation))(jax.random.key(i), batch)) for i in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one[0], one[3])
    assert one.dtype == np.int16
    np.testing.assert_array_equal(one[[1, 2, 4, 5]], batch[jnp.array([1, 2, 4, 5])])
    with pytest.raises(ValueError, match=rf"{name}: ids are float32\[6\], but integers \[T\]"):
        augmentation(jax.random.key(0), jnp.zeros(6))


# Thesauri


def test_plain_lines(write):
    assert text.read_thesaurus(write(THESAURUS)) == {
        "film": ("movie", "picture", "motion picture"),
        "great": ("superb", "very good"),
        "dull": ("boring", "tedious", "flat"),
    }


@pytest.mark.parametrize("encoding", ["UTF-8", "ISO8859-9"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_mythes(encoding, newline, write):
    content = MYTHES.replace("UTF-8", encoding).replace("\n", newline)
    assert text.read_mythes(write(content, encoding)) == {
        "dull": ("boring", "tedious", "blunt"),
        "film": ("movie", "picture"),
        "Çırağan": ("saray",),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (MYTHES.replace("film|1", "film|one"), r"line 5: 'film\|one' is not `word\|number"),
        (MYTHES.replace("film|1", "film"), "line 5: 'film' is not"),
        (MYTHES.replace("film|1", "film|2"), "line 8: .* is not `word"),
        (MYTHES.replace("dull|2", "dull|1"), r"line 4: .*\(related term\)' is not `word"),
        (MYTHES.replace("boring|", "|"), "line 3: .* is no meaning, of 2 of 'dull'"),
        (MYTHES[: MYTHES.index("(noun)|saray")], "line 10: '' is no meaning, of 1 of"),
        (MYTHES.replace("UTF-8", "dull"), "line 1: 'dull' is no encoding of text"),
        (MYTHES.replace("UTF-8", "base64"), "line 1: 'base64' is no encoding of text"),
        (MYTHES.encode("ISO8859-9"), "is not in UTF-8"),
        (b"\xff\xfe\x00", "line 1: .* is no encoding of text"),
        (MYTHES.replace("UTF-8", "punycode"), "line 1: 'punycode' is no encoding of text"),
        (MYTHES.replace("UTF-8", "UTF-8\0"), r"line 1: 'UTF-8\\x00' is no encoding of text"),
        (
            MYTHES.replace("UTF-8", "cp99999"),
            "line 1: 'cp99999' is an encoding that Python has not",
        ),
        (MYTHES.replace("film|1", "film|" + "9" * 5_000), "line 5: 'film.* is not `word"),
        (MYTHES.replace("film|1", "film|1000000"), "line 5: 'film.* is not `word"),
        (MYTHES.replace("film|1", "film|999999"), "line 11: '' is no meaning, of 999999 of 'film'"),
        (MYTHES.replace("film|1", "film" * 10**5), "line 5: 'film"),
        (MYTHES.replace("boring|", "boring||" * 10**5), "line 3: .* is no meaning, of 2 of 'dull'"),
    ],
)
def test_a_damaged_mythes_file_is_refused(content, message, write):
    path = write(content)
    with pytest.raises(DataError, match=message) as error:
        text.read_mythes(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (THESAURUS + "film movie", "line 7: 'film movie' is not `word: synonym, synonym`"),
        (THESAURUS + "film: movie,", "line 7"),
        (THESAURUS + ": movie", "line 7"),
        (THESAURUS + "film:", "line 7"),
        (b"film: \xff", "is not in utf-8"),
        (THESAURUS + "film" * 10**6, "line 7: 'film"),
    ],
)
def test_a_damaged_thesaurus_is_refused(content, message, write):
    with pytest.raises(DataError, match=message) as error:
        text.read_thesaurus(write(content))
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("read", [text.read_thesaurus, text.read_mythes])
def test_a_file_that_cannot_be_read_is_refused(read, tmp_path, monkeypatch, write):
    with pytest.raises(DataError, match="none: cannot be read"):
        read(tmp_path / "none")
    with pytest.raises(DataError, match="is no path"):
        read("a\0b")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: cannot be read"):
        read(tmp_path / "pipe")
    monkeypatch.setattr(text.thesaurus, "_BYTES", 50)
    with pytest.raises(DataError, match="has more than the 50 bytes expected"):
        read(write(MYTHES))


def test_the_home_folder_is_understood(write, monkeypatch):
    path = write(THESAURUS)
    monkeypatch.setenv("HOME", str(path.parent))
    assert text.read_thesaurus(f"~/{path.name}") == text.read_thesaurus(path)


def test_the_nearest_words_are_scikit_learns():
    vectors = np.random.default_rng(0).normal(size=(1_500, 6)).astype(np.float32)
    vocabulary = [f"word{i}" for i in range(1_500)]
    found = text.nearest_words(vocabulary, vectors, 4)
    neighbours = NearestNeighbors(n_neighbors=5, metric="cosine").fit(vectors)
    _, expected = neighbours.kneighbors(vectors)
    assert found == {
        word: tuple(vocabulary[i] for i in row[1:])
        for word, row in zip(vocabulary, expected, strict=True)
    }
    assert text.random_synonyms(KEYS[0], ["word3"], found, rate=1.0)[0] in found["word3"]


@pytest.mark.parametrize(
    ("vectors", "count", "message"),
    [
        (np.ones((2, 4)), 1, r"vectors are \[2, 4\], but one for each of the 3 words"),
        (np.diag([1.0, 0.0, 1.0]), 1, "none of them 0"),
        (np.ones((3, 4)), 3, "count=3"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(vectors, count, message):
    with pytest.raises(ValueError, match=message):
        text.nearest_words(["a", "b", "c"], vectors, count)
