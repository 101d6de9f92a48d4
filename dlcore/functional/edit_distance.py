"""How far sequences of tokens are from those that were wanted."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def edit_distance(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """The fewest insertions, deletions and replacements of a token that make `other` of `one`.

    dᵢⱼ = min(dᵢ₋₁ⱼ + 1, dᵢⱼ₋₁ + 1, dᵢ₋₁ⱼ₋₁ + [oneᵢ ≠ otherⱼ]). Texts are sequences of characters.
    Levenshtein 1966; Wagner and Fischer 1974.

    >>> edit_distance("kitten", "sitting")
    3
    """
    row = list(range(len(other) + 1))
    for i, token in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, wanted in enumerate(other, 1):
            changed = before + (token != wanted)
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, changed)
    return row[-1]


def error_rate(
    predictions: Sequence[Sequence[Hashable]],
    references: Sequence[Sequence[Sequence[Hashable]]],
) -> float:
    """Σ edit distances / Σ lengths of what was wanted: the phoneme, character or word error rate.

    references: for each prediction those that are right, one or several; the nearest counts, of
        equally near ones the shortest.

    It may exceed 1. Raises ValueError where their numbers differ, where nothing is wanted, and for
    a text in the place of a list of texts, whose letters would each count as right.
    """
    for ways in (references, *references):
        if isinstance(ways, str):
            raise ValueError(
                f"error_rate: references has the text {ways!r} where a list of right ones is "
                f"wanted, [{ways!r}]"
            )
    if len(predictions) != len(references) or not all(references):
        raise ValueError(
            f"error_rate: {len(predictions)} predictions and {len(references)} references, but a "
            "list of right ones, [right, …], is wanted for each"
        )
    pairs = [
        min((edit_distance(given, right), len(right)) for right in ways)
        for given, ways in zip(predictions, references, strict=True)
    ]
    if not (length := sum(length for _, length in pairs)):
        raise ValueError("error_rate: all references are empty, so there is nothing to divide by")
    return sum(distance for distance, _ in pairs) / length
