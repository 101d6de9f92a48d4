"""What is done to the weights themselves after an update. Each is chained last.

optax.chain(
    optim.adam(1e-3), optim.decay_weights(1e-5, mask="**/kernel"), optim.max_norm(3.0)
)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from dlcore.names import arguments, written
from dlcore.optim._checks import Scalar, check_numbers, check_scheduled
from dlcore.optim._parts import group_norms, like, moved, on_leaves, scheduled
from dlcore.optim.penalties import Penalty
from dlcore.tree import Mask


@arguments()
def decay_weights(
    weight_decay: optax.ScalarOrSchedule, *, mask: Mask = None
) -> optax.GradientTransformationExtraArgs:
    """Decoupled decay: w ← (1 − λ)w + Δw, of the leaves that `mask` chooses (see `tree.mask`).

    λ is not multiplied by the learning rate, as it is in `adamw`; to make it follow one, let it be
    a schedule. Loshchilov and Hutter 2019, equation 1.

    Raises TypeError or ValueError for λ outside [0, 1); from `init` for a mask that does not fit
    the leaves; from `update` without the parameters.
    """
    check_scheduled(below=1, weight_decay=weight_decay)

    def shrink(decay: Scalar) -> optax.GradientTransformationExtraArgs:
        return on_leaves("decay_weights", mask, lambda u, p: u - like(decay, u) * like(p, u))

    return scheduled(weight_decay, shrink)


@arguments()
def proximal(
    learning_rate: optax.ScalarOrSchedule, penalty: Penalty
) -> optax.GradientTransformationExtraArgs:
    """Proximal gradient descent: w ← prox(w + Δw) of ηR, which is exact where ∇R does not exist.

        optax.chain(optim.sgd(0.1), optim.proximal(0.1, optim.l1(1e-3, mask="**/kernel")))

    minimises the loss + R as `add_penalty` does, but reaches the zeros of `l1` and `group_lasso`
    exactly, and for good: soft-thresholding by ηλ.

    Args:
        learning_rate: η ≥ 0 or a schedule, the optimizer's own. Behind an adaptive optimizer, whose
            rates differ from weight to weight, the zeros remain but their places are not those of
            the minimum.
        penalty: `l1`, `l2`, `elastic_net` or `group_lasso`.

    Raises:
        TypeError, ValueError: for a rate that is no number or negative, another kind of penalty;
            from `init` for a mask that does not fit the leaves; from `update` without the
            parameters.

    Parikh and Boyd 2014, section 4.2; with `l1`, ISTA (Daubechies et al. 2004).
    """
    check_scheduled(learning_rate=learning_rate)
    if not isinstance(penalty, Penalty):
        raise TypeError(f"proximal takes a penalty such as optim.l1(1e-3), got {written(penalty)}")

    def shrink(rate: Scalar) -> optax.GradientTransformationExtraArgs:
        return on_leaves(
            "proximal",
            penalty.mask,
            lambda u, p: penalty.prox(moved(u, p), like(rate, p)) - p,
        )

    return scheduled(learning_rate, shrink)


@arguments()
def max_norm(
    max_value: Scalar, *, mask: Mask = "**/kernel", axis: int = -1
) -> optax.GradientTransformationExtraArgs:
    """Projection of each unit's weights onto the ball of radius c: w_j ← w_j min(1, c/‖w_j‖₂).

    Args:
        max_value: c ≥ 0.
        mask: which leaves, see `tree.mask`.
        axis: the axis of the units: −1 in kernels [in, out] and [h, w, in, out].

    Raises:
        TypeError, ValueError: for c that is no number or negative; from `init` for a mask that does
            not fit the leaves; from `update` for a leaf without that axis, and without the
            parameters.

    Srivastava et al. 2014, section 5.1, where c is 3 or 4. Equals Keras' MaxNorm but for its ε.
    """
    check_numbers(max_value=max_value)

    def project(u: jax.Array, p: jax.Array) -> jax.Array:
        new = moved(u, p)
        norm = group_norms("max_norm", new, axis)
        is_short = norm <= like(max_value, norm)
        factor = jnp.where(is_short, 1, like(max_value, norm)) / jnp.where(is_short, 1, norm)
        return new * like(factor, new) - p

    return on_leaves("max_norm", mask, project)
