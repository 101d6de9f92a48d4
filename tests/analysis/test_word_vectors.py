from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from dlcore.analysis import WordVectors
from dlcore.data import Vocabulary, WordPairs
from dlcore.interop import weights
from dlcore.interop.weights import WeightsError

WORDS = ("the", "king", "queen", "man", "woman", "zoë", "nothing")


def some(seed=0, features=5):
    table = np.random.default_rng(seed).normal(size=(len(WORDS), features)).astype(np.float32)
    table[-1] = 0
    return WordVectors(Vocabulary(WORDS), table)


def cosine(x, y):
    lengths = np.linalg.norm(x) * np.linalg.norm(y)
    return float(x @ y / lengths) if lengths else 0.0


def test_similarity_and_neighbours_are_by_the_angle():
    vectors = some()
    table = dict(zip(WORDS, vectors.vectors.astype(float), strict=True))
    near = vectors.most_similar("king", 4)
    expected = sorted(
        ((w, cosine(table["king"], table[w])) for w in WORDS if w != "king"), key=lambda p: -p[1]
    )
    assert [word for word, _ in near] == [word for word, _ in expected[:4]]
    np.testing.assert_allclose([c for _, c in near], [c for _, c in expected[:4]], atol=1e-6)
    assert vectors.similarity("man", "king") == pytest.approx(cosine(table["man"], table["king"]))
    assert vectors.similarity("nothing", "king") == 0
    assert len(vectors.most_similar("king", 99)) == len(WORDS) - 1


def answer(vectors, a, b, c, words=WORDS):
    """By the formula, one word after another."""
    table = dict(zip(WORDS, vectors.vectors.astype(float), strict=True))
    unit = {w: x / (np.linalg.norm(x) or 1) for w, x in table.items()}
    x = unit[b] - unit[a] + unit[c]
    return max((w for w in words if w not in (a, b, c)), key=lambda w: cosine(x, table[w]))


def test_analogies_are_answered_by_the_formula():
    vectors = some(1)
    questions = list(itertools.permutations(WORDS[:6], 4))
    right = sum(answer(vectors, *q[:3]) == q[3] for q in questions)
    assert vectors.analogies([*questions, ("man", "king", "woman", "unknown")]) == (
        right,
        len(questions),
    )
    a, b, c, _ = questions[7]
    assert vectors.analogy(a, b, c)[0][0] == answer(vectors, a, b, c)
    assert vectors.analogies([("The", "KING", "Man", "Queen")])[1] == 1
    few = [q for q in questions if {*q} <= {*WORDS[:5]}]
    assert vectors.analogies(questions, among=5) == (
        sum(answer(vectors, *q[:3], WORDS[:5]) == q[3] for q in few),
        len(few),
    )
    assert vectors.analogies([]) == (0, 0)


def test_a_parallelogram_is_found():
    table = np.array([[9, 9], [1, 2], [2, 2], [1, 1], [2, 1], [-9, 1], [0, 0]], np.float32)
    vectors = WordVectors(Vocabulary(WORDS), np.hstack([table, np.full((7, 1), 3, np.float32)]))
    assert vectors.analogy("man", "king", "woman", 1)[0][0] == "queen"


def test_rank_correlation_is_that_of_the_ranks():
    vectors = some()
    words = [("King", "man"), ("queen", "woman"), ("the", "zoë"), ("man", "woman"), ("x", "man")]
    scores = np.array([3.0, 1.0, 2.0, 2.0, 9.0])
    rho, known = vectors.spearman(WordPairs(words, scores))
    cosines = [vectors.similarity(a.lower(), b) for a, b in words[:4]]
    ranks = stats.rankdata(cosines), stats.rankdata(scores[:4])
    assert known == 4
    assert rho == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert np.isnan(vectors.spearman(WordPairs(words[:1], scores[:1]))[0])


# ------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("form", ["", "_text"])
def test_a_file_brings_back_words_and_bits(form, tmp_path):
    vectors, path = some(), tmp_path / "vectors"
    getattr(vectors, f"save{form}")(path)
    back = getattr(WordVectors, f"load{form}")(path)
    assert back.vocabulary == vectors.vocabulary
    np.testing.assert_array_equal(back.vectors, vectors.vectors)


def test_gensim_reads_what_is_written_and_writes_what_is_read(tmp_path):
    keyed = pytest.importorskip("gensim.models", reason="skipped, because gensim is not installed")
    vectors, path = some(), tmp_path / "vectors.txt"
    vectors.vectors[-1] = 1  # gensim divides by a length of 0
    vectors.save_text(path)
    theirs = keyed.KeyedVectors.load_word2vec_format(str(path))
    assert theirs.index_to_key == list(WORDS)
    np.testing.assert_array_equal(theirs.vectors, vectors.vectors)
    mine = [word for word, _ in vectors.most_similar("king", 3)]
    assert [word for word, _ in theirs.most_similar("king", topn=3)] == mine
    theirs.save_word2vec_format(str(path))
    np.testing.assert_array_equal(WordVectors.load_text(path).vectors, vectors.vectors)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no word vectors as text"),
        ("2 2\na 1 2\n", "1 words, but its first line says 2"),
        ("1 2\na 1 2 3\n", "line 2 has 3 numbers, not 2"),
        ("2 1\na 1\na 2\n", "'a' is there again"),
        ("1 1\na nan\n", "a vector is not finite"),
        ("1 1\na b\n", "no word vectors as text"),
        ("1 0\na\n", "one for each of the 1 words is wanted"),
        ("-1 -1\n", "words, but its first line says -1"),
        ("99999999999 99999999999\n", "0 words, but its first line says"),
    ],
)
def test_a_damaged_text_is_refused(text, message, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(text)
    with pytest.raises(WeightsError, match=message) as error:
        WordVectors.load_text(path)
    assert "\n" not in str(error.value)


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    weights.save(path, {"vectors": np.ones((2, 2), np.float32)}, {"words": ["a"]})
    with pytest.raises(WeightsError, match="holds no word vectors"):
        WordVectors.load(path)
    weights.save(path, {"kernel": np.ones(2, np.float32)})
    with pytest.raises(WeightsError, match="holds no word vectors"):
        WordVectors.load(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="damaged"):
        WordVectors.load(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WordVectors(Vocabulary(("a",)), np.ones((2, 2))), "one for each of the 1 words"),
        (lambda: WordVectors(Vocabulary(("a",)), np.full((1, 2), np.inf)), "not finite"),
        (lambda: some().most_similar("kin"), "did you mean 'king'"),
        (lambda: some().most_similar("king", 0), "count=0: give a whole number"),
        (
            lambda: WordVectors(Vocabulary(("a b",)), np.ones((1, 2))).save_text("x"),
            "'a b' is no word of a text file",
        ),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
