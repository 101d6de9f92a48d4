"""Word vectors in use: neighbours, similarity, analogies, and the files that keep them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dlcore import files
from dlcore.data import Vocabulary, WordPairs
from dlcore.data.dataset import check_count, unknown
from dlcore.interop import weights

TEXT_LIMIT = 1 << 33  # bytes of a file of vectors as text


@dataclasses.dataclass(frozen=True, eq=False)
class WordVectors:
    """A vector for each word; two words are as alike as the angle of theirs is small.

    vocabulary: the words, the most frequent first.
    vectors: float32 [V, D], finite.
    """

    vocabulary: Vocabulary
    vectors: np.ndarray

    def __post_init__(self) -> None:
        vectors = np.asarray(self.vectors, np.float32)
        object.__setattr__(self, "vectors", vectors)
        if vectors.ndim != 2 or len(vectors) != len(self.vocabulary) or not vectors.size:
            raise ValueError(
                f"WordVectors: vectors are {list(vectors.shape)}, but one for each of the "
                f"{len(self.vocabulary):,} words is wanted: [{len(self.vocabulary)}, D]"
            )
        if not np.isfinite(vectors).all():
            raise ValueError("WordVectors: a vector is not finite")

    def __contains__(self, word: str) -> bool:
        return word in self.vocabulary.numbers

    def __repr__(self) -> str:
        words, features = self.vectors.shape
        return f"WordVectors({words:,} words, {features} features)"

    @functools.cached_property
    def directions(self) -> np.ndarray:
        """The vectors of length 1; of 0 it is 0."""
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        return self.vectors / np.where(lengths == 0, 1, lengths)

    def similarity(self, one: str, other: str) -> float:
        """The cosine of the angle between two words, in [−1, 1]."""
        return float(self._direction(one) @ self._direction(other))

    def most_similar(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        """The nearest other words and their cosines, the nearest first."""
        return self._nearest(self._direction(word), (word,), count)

    def analogy(self, a: str, b: str, c: str, count: int = 10) -> list[tuple[str, float]]:
        """The words d for which a is to b as c is to d: those nearest to b − a + c, but for these
        three (3CosAdd: Mikolov et al. 2013c; with vectors of length 1: Levy and Goldberg 2014).
        """
        x = self._direction(b) - self._direction(a) + self._direction(c)
        return self._nearest(x / np.linalg.norm(x), (a, b, c), count)

    def spearman(self, pairs: WordPairs) -> tuple[float, int]:
        """(rank correlation of the cosines with people's scores, how many pairs are known).

        Words are taken in lower case; pairs with one that is unknown are left out. NaN where fewer
        than two are known.
        """
        from scipy import stats

        lower = [(one.lower(), other.lower()) for one, other in pairs.words]
        known = [k for k, (one, other) in enumerate(lower) if one in self and other in self]
        if len(known) < 2:
            return float("nan"), len(known)
        cosines = [self.similarity(*lower[k]) for k in known]
        return float(stats.spearmanr(cosines, pairs.scores[known]).statistic), len(known)

    def analogies(self, questions: Iterable[Sequence[str]], among: int = 30_000) -> tuple[int, int]:
        """(how many questions a b c d have the answer d, how many there are whose words are known).

        d is sought by `analogy` among the `among` most frequent words, of which all four must be.
        Words are taken in lower case.
        """
        directions, numbers = self.directions[:among], self.vocabulary.numbers
        rows = [[numbers.get(word.lower(), among) for word in one] for one in questions]
        known = np.array([row for row in rows if max(row) < len(directions)], int).reshape(-1, 4)
        right = 0
        for a, b, c, d in (part.T for part in np.array_split(known, len(known) // 256 + 1)):
            cosines = (directions[b] - directions[a] + directions[c]) @ directions.T
            for asked in (a, b, c):
                np.put_along_axis(cosines, asked[:, None], -np.inf, axis=1)
            right += int((cosines.argmax(1) == d).sum())
        return right, len(known)

    def _direction(self, word: str) -> np.ndarray:
        if word not in self:
            raise ValueError(unknown("word", word, self.vocabulary.tokens[:10_000]))
        return self.directions[self.vocabulary.numbers[word]]

    def _nearest(
        self, direction: np.ndarray, without: Sequence[str], count: int
    ) -> list[tuple[str, float]]:
        check_count("count", count, 1)
        cosines = self.directions @ direction
        cosines[self.vocabulary.encode(without)] = -np.inf
        best = np.argsort(-cosines, kind="stable")[: min(count, len(cosines) - len({*without}))]
        return [(self.vocabulary.tokens[k], float(cosines[k])) for k in best]

    # ------------------------------------------------------------------------------------ files

    def save(self, path: str | Path) -> None:
        """Write one safetensors file: the vectors, and the words as its metadata."""
        weights.save(path, {"vectors": self.vectors}, {"words": list(self.vocabulary.tokens)})

    @classmethod
    def load(cls, path: str | Path) -> WordVectors:
        """What `save` wrote; WeightsError for a file that is damaged or holds something else."""
        tree, metadata = weights.load(path)
        with weights.about(path, "cannot be read"):
            try:
                return cls(Vocabulary(tuple(metadata["words"])), tree["vectors"])
            except (KeyError, TypeError, ValueError) as error:
                raise weights.WeightsError(f"holds no word vectors ({error!s:.200})") from None

    def save_text(self, path: str | Path) -> None:
        """Write them as word2vec and gensim do as text: a line "V D", then "word x₁ … x_D" each."""
        clash = [word for word in self.vocabulary.tokens if not word or word.split() != [word]]
        if clash:
            raise ValueError(f"save_text: {clash[0]!r} is no word of a text file; use save")
        words, features = self.vectors.shape
        lines = [f"{words} {features}"]
        for word, vector in zip(self.vocabulary.tokens, self.vectors.tolist(), strict=True):
            lines.append(f"{word} {' '.join(f'{number:.9g}' for number in vector)}")
        files.replace(path, ("\n".join(lines) + "\n").encode())

    @classmethod
    def load_text(cls, path: str | Path) -> WordVectors:
        """What `save_text`, word2vec or gensim wrote as text.

        Raises WeightsError where the file does not have the lines and numbers that its first line
        says.
        """
        with weights.about(path, "cannot be read") as place:
            try:
                first, *lines = files.read(place, TEXT_LIMIT).decode().splitlines()
                count, features = map(int, first.split())
                if count != len(lines):
                    raise ValueError(f"{len(lines)} words, but its first line says {count}")
                return cls(*_read(lines, features))
            except ValueError as error:
                raise weights.WeightsError(f"no word vectors as text ({error!s:.200})") from None


def _read(lines: list[str], features: int) -> tuple[Vocabulary, np.ndarray]:
    """The words and their vectors."""
    words, rows = [], []
    for number, line in enumerate(lines, 2):
        word, *numbers = line.split()
        if len(numbers) != features:
            raise ValueError(f"line {number} has {len(numbers)} numbers, not {features}")
        words.append(word)
        rows.append(np.array(numbers, np.float32))
    return Vocabulary(tuple(words)), np.stack(rows)
