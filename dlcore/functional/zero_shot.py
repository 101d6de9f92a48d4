"""Zero-shot learning: classes without examples, known by what they are like.

The signature of a class is a vector: its attributes, or the vector of its name. signatures [C, A]
holds those of all classes; what is learned with the seen ones maps features x [B, D] to that space.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dlcore.checks import class_rows, floating, is_concrete, values_of
from dlcore.fields import documented


@documented
class Generalized(NamedTuple):
    """Accuracies where every class may be the answer, seen or not; each a mean over its classes.

    seen: of examples of the classes that were learned.
    unseen: of the others.
    harmonic: 2 · seen · unseen / (seen + unseen): 0 where either is.
    """

    seen: jax.Array
    unseen: jax.Array
    harmonic: jax.Array


def eszsl(
    x: ArrayLike,
    labels: ArrayLike,
    signatures: ArrayLike,
    *,
    gamma: float = 1.0,
    lambda_: float = 1.0,
) -> jax.Array:
    """The kernel V [D, A] by which x·V·Sᵀ [B, C] is large for the class of x, in closed form.

    V = (XᵀX + γI)⁻¹ XᵀY S (SᵀS + λI)⁻¹, with X the features x [N, D], S the signatures [C, A] of
    the seen classes, and Y [N, C] 1 for the class of the labels [N] and −1 for all others. It
    minimises ‖XVSᵀ − Y‖² + γ‖VSᵀ‖² + λ‖XV‖² + γλ‖V‖². Classes that are unseen take their place in S
    afterwards. Romera-Paredes and Torr 2015, equation 3 ("embarrassingly simple").
    """
    x, s = floating("eszsl", "x", x), floating("eszsl", "signatures", signatures)
    if x.ndim != 2 or s.ndim != 2:
        raise ValueError(
            f"eszsl: x {x.shape} and signatures {s.shape}, but features [N, D] and [C, A] are "
            "wanted"
        )
    for name, value in (("gamma", gamma), ("lambda_", lambda_)):
        if is_concrete(value) and not value > 0:
            raise ValueError(f"eszsl: {name} is {value}, but must be positive")
    y = 2 * class_rows("eszsl", jnp.zeros((len(x), len(s))), labels).astype(x.dtype) - 1
    left = x.T @ x + gamma * jnp.eye(x.shape[1], dtype=x.dtype)
    right = s.T @ s + lambda_ * jnp.eye(s.shape[1], dtype=s.dtype)
    return jnp.linalg.solve(right.T, jnp.linalg.solve(left, x.T @ y @ s).T).T


def nearness(outputs: ArrayLike, signatures: ArrayLike) -> jax.Array:
    """Logits −‖y − s‖² [B, C] of outputs y [B, A] for the classes of signatures s [C, A].

    The largest is that of the nearest class. Socher et al. 2013, section 4.
    """
    y, s = floating("nearness", "outputs", outputs), floating("nearness", "signatures", signatures)
    if s.ndim != 2 or y.ndim != 2 or y.shape[1] != s.shape[1]:
        raise ValueError(
            f"nearness: outputs {y.shape} and signatures {s.shape}, but [B, A] and [C, A] are "
            "wanted"
        )
    return -jnp.sum(jnp.square(y[:, None] - s), axis=-1)


def generalized_accuracy(
    logits: ArrayLike, labels: ArrayLike, unseen: ArrayLike, *, penalty: float = 0.0
) -> Generalized:
    """How often the largest of logits [B, C] is the label [B], by whether the class is unseen [C].

    penalty: taken off the logits of the seen classes, which else win nearly always: calibrated
        stacking, Chao et al. 2016, equation 2. To be chosen on validation.

    Xian et al. 2018, section 5.1. A class without an example does not count.
    """
    logits = floating("generalized_accuracy", "logits", logits)
    rows = class_rows("generalized_accuracy", logits, labels).astype(logits.dtype)
    is_unseen: Any = values_of(unseen)
    if is_unseen.shape != logits.shape[-1:] or is_unseen.dtype != bool:
        raise ValueError(
            f"generalized_accuracy: unseen is {is_unseen.dtype}{list(is_unseen.shape)}, but a bool "
            f"for each of the {logits.shape[-1]} classes is wanted"
        )
    guess = jnp.argmax(logits - jnp.where(is_unseen, 0, penalty).astype(logits.dtype), axis=-1)
    right = jnp.take_along_axis(rows, guess[:, None], axis=-1)
    counts = jnp.sum(rows, axis=0)
    accuracy = jnp.sum(rows * right, axis=0) / jnp.where(counts == 0, 1, counts)
    seen, other = (jnp.mean(accuracy, where=(counts > 0) & of) for of in (~is_unseen, is_unseen))
    both = seen + other
    return Generalized(seen, other, 2 * seen * other / jnp.where(both == 0, 1, both))
