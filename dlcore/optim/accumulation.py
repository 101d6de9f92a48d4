"""One update from several batches."""

from __future__ import annotations

import optax

from dlcore.names import arguments
from dlcore.optim._checks import check_whole


@arguments()
def accumulate(
    optimizer: optax.GradientTransformation, every: int
) -> optax.GradientTransformationExtraArgs:
    """The optimizer's update for the mean gradient of `every` batches, and none between.

    For a mean loss and batches of one size it is the update of one batch `every` times as large.
    Its schedules count updates, not batches. This is `optax.MultiSteps`, which sums in float32, as
    a transformation that keeps the extra arguments.
    """
    check_whole(every=every)
    steps = optax.MultiSteps(optimizer, every)
    return optax.GradientTransformationExtraArgs(steps.init, steps.update)
