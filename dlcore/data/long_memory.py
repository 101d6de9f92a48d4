"""Problems whose answer lies far back: what a network must keep, and for how long, is known.

Each function draws n sequences as a pure function of `seed`.
"""

from __future__ import annotations

import numpy as np

from dlcore.data.dataset import Arrays, check_count


def copying(n: int, delay: int, symbols: int = 4, alphabet: int = 8, seed: int = 0) -> Arrays:
    """x int32 [n, T], the symbols, blanks and a mark; y int32 [n, symbols], the symbols again.

    With K = symbols and A = alphabet, T = K + delay + K: K symbols drawn from 0 … A − 1, delay − 1
    blanks A, the mark A + 1, and K blanks, at which the symbols are to be given in their order, so
    that each lies K + delay steps back. Who has forgotten them is right once in A times.

    Hochreiter and Schmidhuber 1997, in the form of Arjovsky et al. 2016, section 4.1 (symbols 10,
    alphabet 8), who count the blanks before the recall among what is to be given too.
    """
    sizes = {"n": n, "delay": delay, "symbols": symbols, "alphabet": alphabet}
    for name, size in sizes.items():
        check_count(name, size, 2 if name == "alphabet" else 1)
    y = _drawn(seed).integers(0, alphabet, (n, symbols), np.int32)
    x = np.full((n, 2 * symbols + delay), alphabet, np.int32)
    x[:, :symbols] = y
    x[:, symbols + delay - 1] = alphabet + 1
    return {"x": x, "y": y}


def adding(n: int, length: int, seed: int = 0) -> Arrays:
    """x float32 [n, length, 2], numbers and marks; y float32 [n, 1], the sum of two of the numbers.

    The numbers are uniform in [0, 1); the marks are 0 but for a 1 in each half, drawn uniformly, at
    the numbers to be added. Who gives 1 always is wrong by a mean square of 1/6, the sum's
    variance, which is the least without looking.

    Hochreiter and Schmidhuber 1997, section 5.4, in the form of Le et al. 2015, section 4.1.
    """
    check_count("n", n, 1)
    check_count("length", length, 2)
    rng = _drawn(seed)
    numbers = rng.random((n, length), np.float32)
    marks = np.zeros_like(numbers)
    half, rows = length // 2, np.arange(n)
    marks[rows, rng.integers(0, half, n)] = 1
    marks[rows, rng.integers(half, length, n)] = 1
    y = (numbers * marks).sum(axis=1, keepdims=True)
    return {"x": np.stack([numbers, marks], axis=-1), "y": y}


def _drawn(seed: int) -> np.random.Generator:
    return np.random.default_rng(check_count("seed", seed, 0))
