"""K-fold cross-validation: every example is predicted once by a network that has not seen it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import device, keys
from dlcore.data.dataset import check_count, stratified_order
from dlcore.search import together
from dlcore.search.together import Build, Configuration, Member, SharedStep
from dlcore.train import metrics
from dlcore.train.evaluate import examples, take
from dlcore.train.objective import Batch
from dlcore.train.plans import batch_like


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """What K folds say of one configuration.

    configuration: its settings by name.
    folds: each metric, [K], on the examples held out of each fold.
    losses: [N], the loss of every example by the network that has not seen it.
    fold: [N], which one that was.
    """

    configuration: Configuration
    folds: dict[str, np.ndarray]
    losses: np.ndarray
    fold: np.ndarray

    @property
    def means(self) -> dict[str, float]:
        """The mean of each metric over the folds."""
        return {name: float(np.mean(values)) for name, values in self.folds.items()}

    @property
    def errors(self) -> dict[str, float]:
        """The standard error of each mean, s/√K with s² = Σ(xₖ − x̄)²/(K − 1).

        The folds share training examples, so it is somewhat too small (Bengio and Grandvalet 2004:
        no unbiased estimate of it exists).
        """
        return {
            name: float(np.std(values, ddof=1) / np.sqrt(len(values)))
            for name, values in self.folds.items()
        }

    @property
    def suspects(self) -> np.ndarray:
        """All examples [N], those first whose label the others contradict most: by their loss."""
        return np.argsort(-self.losses, kind="stable")

    def __rich__(self) -> Any:
        """A column for each metric, a row for each fold."""
        from rich.table import Table

        shown = Table("fold", *self.folds)
        for k, row in enumerate(zip(*self.folds.values(), strict=True)):
            shown.add_row(str(k + 1), *(f"{value:.4g}" for value in row))
        ends = [f"{self.means[name]:.4g} ± {self.errors[name]:.2g}" for name in self.folds]
        shown.add_section()
        shown.add_row("mean", *ends)
        return shown


def cross_validate(
    build: Build,
    space: Sequence[Configuration],
    data: Batch,
    *,
    epochs: int,
    folds: int = 5,
    batch_size: int = 128,
    groups: Sequence[str] = (),
    seed: int = 0,
) -> list[CrossValidation]:
    """K networks for each configuration, each trained on all but one of K folds, measured on that.

    build, space, groups: as in `sweep`; one configuration alone is `[{}]`. All folds of all
        configurations of one program train at once, under `vmap`.
    data: a dict of arrays. Its integer labels y are in each fold in their overall proportions.
    seed: draws the folds. Each network starts from its configuration's "seed", and comes out as
        `fit` on the examples outside its fold would.

    Every example is held out once. Where K does not divide N, N mod K folds are one example larger;
    the others then train on one example fewer than they might, so that all train on N − ⌈N/K⌉.

        [result] = search.cross_validate(lambda _: (layer, objective, optimizer), [{}], digits, …)
        print(result.means["accuracy"], result.suspects[:10])
    """
    n = examples(data)
    check_count("epochs", epochs, 1)
    check_count("folds", folds, 2, n)
    fold = _assigned(np.asarray(data["y"]), folds, seed)
    fewest = n - -(-n // folds)  # examples that every fold leaves to train on
    train = np.stack([np.flatnonzero(fold != k)[:fewest] for k in range(folds)])
    held_out = [np.flatnonzero(fold == k) for k in range(folds)]
    on_device = jax.tree.map(jnp.asarray, data)
    runs: dict[tuple[int, int], dict[str, Any]] = {}
    for step, places in together.programs(build, space, groups).items():
        members = [(place, k) for place in places for k in range(folds)]
        pays = together.pays(step, space[places[0]], batch_like(on_device, batch_size))
        size = len(members) if pays else 1
        for chunk in (members[i : i + size] for i in range(0, len(members), size)):
            configurations = [space[place] for place, _ in chunk]
            rows = train[[k for _, k in chunk]]
            trained = _trained(step, configurations, on_device, rows, epochs, batch_size)
            # Those that are one example smaller repeat some, to be of one shape.
            outside = np.stack([np.resize(held_out[k], n - fewest) for _, k in chunk])
            measured = jax.device_get(_each(trained, on_device, outside, step=step))
            _refuse(step, trained, data, outside, measured)
            for i, (place, k) in enumerate(chunk):
                inside = slice(len(held_out[k]))
                runs[place, k] = jax.tree.map(lambda leaf, i=i, s=inside: leaf[i][s], measured)
    return [
        _result(configuration, [runs[place, k] for k in range(folds)], fold, held_out)
        for place, configuration in enumerate(space)
    ]


def _assigned(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each example: stretches of a shuffled order, of ⌈N/K⌉ or ⌊N/K⌋ examples."""
    if np.issubdtype(labels.dtype, np.integer) and labels.ndim == 1:
        order = stratified_order(labels, seed)
    else:
        order = np.random.default_rng(seed).permutation(len(labels))
    fold = np.empty(len(labels), np.int32)
    for k, rows in enumerate(np.array_split(order, folds)):
        fold[rows] = k
    return fold


def _trained(
    step: SharedStep,
    configurations: list[Configuration],
    data: Batch,
    rows: np.ndarray,
    epochs: int,
    batch_size: int,
) -> Member:
    """Members [M], each trained on its own rows [M, n]."""
    numbers, seeds = together.stacked([step.given(one) for one in configurations])
    members = together.start(numbers, seeds, step=step)
    for number in range(epochs):
        members, *_ = together.epoch(
            members,
            data,
            rows,
            None,
            together.shared(seeds),
            number,
            step=step,
            batch_size=batch_size,
        )
    return members


@device.jit_each("step", by=jax.jit)
def _each(members: Member, data: Batch, rows: jax.Array, *, step: SharedStep) -> dict[str, Any]:
    """The metric sums [M, n] of each member on each of its rows [M, n]."""

    def one(member: Member, row: jax.Array) -> dict[str, Any]:
        _, objective, _ = step.parts(member.numbers)
        run = member.run
        key = jax.random.fold_in(keys.stream(run.seed, "evaluation"), row)
        example = take(data, row[None])
        return objective(run.params, run.state, example, key=key, train=False)[1][1]

    return jax.vmap(jax.vmap(one, in_axes=(None, 0)))(members, rows)


def _refuse(
    step: SharedStep, members: Member, data: Batch, rows: np.ndarray, measured: dict[str, Any]
) -> None:
    """Lets the objective say in words what it refuses of an example (a label out of range).

    In a compiled program that is NaN.
    """
    for m, row in np.argwhere(np.isnan(measured["loss"].value()))[:1]:
        member = jax.tree.map(lambda leaf, m=m: leaf[m], members)
        _, objective, _ = step.parts(member.numbers)
        example = take(data, rows[m, row][None])
        key = keys.stream(member.run.seed, "evaluation")
        objective(member.run.params, member.run.state, example, key=key, train=False)


def _result(
    configuration: Configuration,
    measured: list[dict[str, Any]],
    fold: np.ndarray,
    held_out: list[np.ndarray],
) -> CrossValidation:
    """The metrics of each fold, and the loss of each example."""
    sums = [jax.tree.map(lambda leaf: np.sum(leaf, axis=0), one) for one in measured]
    folds = [metrics.values(one) for one in sums]
    losses = np.empty(len(fold), np.float32)
    for rows, one in zip(held_out, measured, strict=True):
        losses[rows] = one["loss"].value()
    return CrossValidation(
        configuration,
        {name: np.array([one[name] for one in folds]) for name in folds[0]},
        losses,
        fold,
    )
