"""How good drawn examples are: distances of two sets of features [N, D], real and generated.

The features are those of a network that was trained for something else, on real examples: the layer
before its logits. All of these depend on that network, and the first on N too: figures compare only
where both are the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dlcore.data.dataset import check_count
from dlcore.fields import documented


@documented
class Quality(NamedTuple):
    """How n generated examples compare with n real ones.

    n: of each.
    shares: of the generated ones that are taken for each class, [C].
    entropy: of these shares, in nats; log C where all are equal.
    recognised: the share that is taken for the class that was wanted; None where none was.
    precision: the share of the generated that lie among real ones.
    recall: the share of the real that lie among generated ones.
    frechet: the Fréchet distance of their features.
    """

    n: int
    shares: np.ndarray
    entropy: float
    recognised: float | None
    precision: float
    recall: float
    frechet: float


def quality(
    real: Any, generated: Any, probabilities: Any, wanted: Any = None, *, neighbours: int = 3
) -> Quality:
    """All of it, of features real [n, D] and generated [n, D] by the same network.

    probabilities: what the network gives the generated ones, [n, C]. wanted: the classes that were
    asked for, [n]. neighbours: see `precision_recall`.
    """
    real, generated = _features("quality", real, generated)
    if len(real) != len(generated):
        raise ValueError(
            f"quality: {len(real):,} real and {len(generated):,} generated examples: as many of "
            "each are wanted, since the Fréchet distance depends on how many they are"
        )
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or len(probabilities) != len(real):
        raise ValueError(
            f"quality: probabilities are {list(probabilities.shape)}, but one row for each of the "
            f"{len(real):,} generated examples is wanted, [n, C]"
        )
    if not np.isfinite(probabilities).all() or np.shape(wanted) not in ((), (len(real),)):
        raise ValueError(
            f"quality: probabilities are to be finite, and wanted [n] labels, got "
            f"{list(np.shape(wanted))}"
        )
    taken = probabilities.argmax(-1)
    shares = np.bincount(taken, minlength=probabilities.shape[1]) / len(taken)
    precision, recall = precision_recall(real, generated, neighbours=neighbours)
    return Quality(
        n=len(real),
        shares=shares,
        entropy=float(-np.sum(shares * np.log(np.where(shares > 0, shares, 1)))),
        recognised=None if wanted is None else float(np.mean(taken == np.asarray(wanted))),
        precision=precision,
        recall=recall,
        frechet=frechet_distance(real, generated),
    )


def frechet_distance(real: Any, generated: Any) -> float:
    """‖μ − μ′‖² + tr(Σ + Σ′ − 2(ΣΣ′)^½) of the features' means and covariances.

    That is the squared distance of two normal distributions with these moments. It falls as n grows
    even where both are the same (Chong and Forsyth 2020), so that n belongs to the figure. Heusel
    et al. 2017, who take the features of an Inception network.
    """
    real, generated = _features("frechet_distance", real, generated)
    one, other = (np.cov(x, rowvar=False).reshape(x.shape[1], -1) for x in (real, generated))
    values, vectors = np.linalg.eigh(one)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    # tr (ΣΣ′)^½ = tr (Σ^½ Σ′ Σ^½)^½, of a symmetric matrix.
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    means = np.square(real.mean(0) - generated.mean(0)).sum()
    return float(means + np.trace(one) + np.trace(other) - 2 * cross)


def precision_recall(real: Any, generated: Any, *, neighbours: int = 3) -> tuple[float, float]:
    """(the share of generated features among the real ones, of real ones among the generated).

    One lies among others where it is within the ball about any of them that reaches to that one's
    k-th nearest, k = `neighbours`. So precision falls where examples are bad, and recall where they
    are too much the same. Kynkäänniemi et al. 2019, equation 1, with k = 3.
    """
    from sklearn.neighbors import NearestNeighbors

    real, generated = _features("precision_recall", real, generated)
    check_count("neighbours", neighbours, 1, min(len(real), len(generated)) - 1)

    def among(points: np.ndarray, others: np.ndarray) -> float:
        tree = NearestNeighbors(n_neighbors=neighbours + 1, algorithm="brute").fit(others)
        radii = tree.kneighbors(others)[0][:, -1]  # of itself, at 0, and k others
        inside = 0
        for some in np.array_split(points, -(-len(points) // 500)):
            squares = _squared_distances(some, others)
            inside += int((squares <= np.square(radii)).any(axis=1).sum())
        return inside / len(points)

    return among(generated, real), among(real, generated)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
    return np.maximum(squares, 0)


def _features(function: str, real: Any, generated: Any) -> tuple[np.ndarray, np.ndarray]:
    pair = tuple(np.asarray(one, np.float64) for one in (real, generated))
    shapes = [list(one.shape) for one in pair]
    if (
        [one.ndim for one in pair] != [2, 2]
        or shapes[0][1] != shapes[1][1]
        or not all(len(one) > 1 and np.isfinite(one).all() for one in pair)
    ):
        raise ValueError(
            f"{function}: real {shapes[0]} and generated {shapes[1]} are to be finite features of "
            "the same network, [N, D]"
        )
    return pair[0], pair[1]
