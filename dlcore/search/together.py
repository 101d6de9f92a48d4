"""Many runs in one program: what a sweep and cross-validation share.

A Member is a TrainState with the numbers of its configuration beside it, and a SharedStep trains it
as the Step of that configuration would. So one compiled step serves all configurations that differ
in numbers alone: under `vmap` for all members at once, or in `fit` for one after another.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import device, flops
from dlcore.data import batching
from dlcore.fields import documented
from dlcore.functional.linear import batched
from dlcore.nn.layer import Layer
from dlcore.train import metrics
from dlcore.train.evaluate import evaluate_traced, examples, take
from dlcore.train.objective import Batch, Objective
from dlcore.train.plans import empty_totals
from dlcore.train.state import TrainState, note_validation, train_state
from dlcore.train.step import Step, make_step

Configuration = dict[str, Any]
Build = Callable[[Configuration], tuple[Layer, Objective, Any]]

# On two CPU cores, microseconds a step in `fit`, and a member's step under `vmap` with 63 others:
# 64-16-10 (batch 32, 0.2 MFLOP) 118 and 11, 64-32-32-10 (128, 2.2 MFLOP) 1,703 and 222, 64-128-10
# (32, 1.5 MFLOP) 156 and 129; 784-128-10 (32, 20 MFLOP) 330 and 900. The limit between is a guess.
TOGETHER_FLOPS = 4_000_000

_CONCRETE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


@documented
class Member(NamedTuple):
    """One of many runs.

    numbers: those that `build` gets, by name.
    run: where the run is.
    """

    numbers: dict[str, Any]
    run: TrainState


@dataclasses.dataclass(frozen=True)
class SharedStep:
    """One Step over the Members of all configurations that differ in the values of `varying`.

    build: makes layer, objective and optimizer of a configuration.
    varying: the names of the floats in which the configurations differ.
    constants: the (name, value) pairs that they have in common.
    """

    build: Build
    varying: tuple[str, ...]
    constants: tuple[tuple[str, Any], ...]

    def parts(self, numbers: dict[str, Any]) -> tuple[Layer, Objective, Any]:
        """What `build` makes of the constants and these numbers."""
        try:
            return self.build({**dict(self.constants), **numbers})
        except _CONCRETE as error:
            error.add_note(
                f"`build` looks at the value of a float, one of {', '.join(self.varying)}, but one "
                'program serves all values: groups=("NAME",) compiles a program for each'
            )
            raise

    def given(self, configuration: Configuration) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The numbers and the seed of one configuration."""
        numbers = {name: np.asarray(configuration[name], np.float32) for name in self.varying}
        return numbers, np.asarray(configuration.get("seed", 0), np.uint32)

    def start(self, numbers: dict[str, Any], seed: Any) -> Member:
        """A run that begins."""
        layer, _, optimizer = self.parts(numbers)
        return Member(numbers, train_state(layer, optimizer, seed=seed))

    def __call__(self, member: Member, batch: Batch) -> tuple[Member, dict[str, Any]]:
        """One update of the member's run."""
        run, measured = self._step(member)(member.run, batch)
        return member._replace(run=run), measured

    def active(self, member: Member, batch: Batch) -> tuple[Step, TrainState, dict[str, Any]]:
        """The member's own Step and TrainState, for who looks at a bad batch."""
        return self._step(member), member.run, {}

    def measure(self, member: Member, data: Batch) -> dict[str, Any]:
        """The metric sums of the member's objective over `data`."""
        _, objective, _ = self.parts(member.numbers)
        run = member.run
        return evaluate_traced(objective, run.params, run.state, data, seed=run.seed)

    def _step(self, member: Member) -> Step:
        _, objective, optimizer = self.parts(member.numbers)
        return make_step(objective, optimizer)


@device.jit_each("step", by=jax.jit)
def start(numbers: dict[str, jax.Array], seed: jax.Array, *, step: SharedStep) -> Member:
    """A Member that begins; Members, [M], of numbers [M] and seeds [M]."""
    return (jax.vmap(step.start) if jnp.ndim(seed) else step.start)(numbers, seed)


@device.jit_each("step", by=jax.jit)
def measure(member: Member, data: Batch, *, step: SharedStep) -> dict[str, jax.Array]:
    """The metrics of one member over `data`, as `evaluate` gives them."""
    return _values(step.measure(member, data))


def programs(
    build: Build, space: Sequence[Configuration], groups: Sequence[str]
) -> dict[SharedStep, list[int]]:
    """The steps that serve the configurations of `space`, each with their places there.

    Each configuration is built once as it is, since a bad number can be refused only there.
    """
    if not space:
        raise ValueError("the space is empty, but at least one configuration is wanted")
    found: dict[SharedStep, list[int]] = {}
    for place, configuration in enumerate(space):
        varying = tuple(
            name
            for name, value in configuration.items()
            if isinstance(value, float | np.floating) and name not in (*groups, "seed")
        )
        constants = {
            name: value for name, value in configuration.items() if name not in (*varying, "seed")
        }
        for name, value in constants.items():
            if not isinstance(value, Hashable):
                raise TypeError(
                    f"{name} is {value!r}, but what is part of a program has to be hashable: "
                    f"write {name}={tuple(value)!r}"
                )
        build({name: value for name, value in configuration.items() if name != "seed"})
        found.setdefault(SharedStep(build, varying, tuple(constants.items())), []).append(place)
    return found


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of one structure as one, with a new leading axis, in NumPy."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def shared(seeds: np.ndarray) -> np.ndarray:
    """The one seed that all have, or else the seeds."""
    return np.asarray(seeds[0]) if np.all(seeds == seeds[0]) else seeds


def pays(step: SharedStep, configuration: Configuration, batch: Batch) -> bool:
    """Whether such configurations train faster under `vmap` than one after another.

    On an accelerator always. On the CPU where calls cost more than arithmetic: small networks
    without convolutions, which with a kernel for each member are slower still. `batch` may be
    shapes.
    """
    if jax.default_backend() != "cpu":
        return True
    member = jax.eval_shape(functools.partial(start, step=step), *step.given(configuration))
    jaxpr = jax.make_jaxpr(step)(member, batch).jaxpr
    is_small = flops.count_jaxpr(jaxpr) <= TOGETHER_FLOPS
    return is_small and not flops.has_primitive(jaxpr, *flops.CONVOLUTIONS)


def epoch(
    members: Member,
    data: Batch,
    rows: np.ndarray | None,
    validation: Batch | None,
    seed: np.ndarray,
    number: int,
    *,
    step: SharedStep,
    batch_size: int,
) -> tuple[Member, dict[str, Any], dict[str, Any], jax.Array, jax.Array]:
    """Every member after epoch `number` (from 0), as `fit` would train it alone.

    members: with a leading axis, [M]. rows: [M, n], the examples of `data` that each trains on; all
    of them where it is None. seed: one for all, whose batches are then gathered once, or [M].

    Returns (members, metrics, validation metrics, updates made, alive), each [M]. A member whose
    loss is not finite stands still from there on, and is no longer alive.
    """
    n = examples(data) if rows is None else rows.shape[1]
    of_each = [batching.batches(n, batch_size, int(one), number) for one in seed.ravel()]
    batches = np.reshape(of_each, (*seed.shape, *of_each[0].shape))
    return _epoch(members, data, rows, batches, validation, seed, number, step=step)


@device.jit_each("step", by=jax.jit, donate_argnames="members")
def _epoch(
    members: Member,
    data: Batch,
    rows: jax.Array | None,
    batches: jax.Array,
    validation: Batch | None,
    seed: jax.Array,
    number: jax.Array,
    *,
    step: SharedStep,
) -> Any:
    """`epoch` with its index batches, [T, B] or [M, T, B]."""

    def one(member: Member, rows: Any, batches: Any, seed: Any) -> Any:
        numbers = number * len(batches) + jnp.arange(len(batches))

        def update(carry: Any, at: Any) -> tuple[Any, None]:
            member, totals = carry
            count, places = at
            # Those who are alive have made `count` updates: said by a number that all share, the
            # step's random numbers are drawn once for all who share the seed.
            now = member._replace(run=member.run._replace(step=count, seed=seed))
            new, measured = step(now, take(data, places if rows is None else rows[places]))
            moved = (member.run.step == count) & (new.run.step > count)
            member = jax.tree.map(functools.partial(jnp.where, moved), new, member)
            return (member, metrics.merge(totals, measured)), None

        first = take(data, batches[0])
        nothing = empty_totals(step, member, first, examples(first))
        (member, totals), _ = jax.lax.scan(update, (member, nothing), (numbers, batches))
        finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(member.run.params)]
        alive = (member.run.step == numbers[-1] + 1) & functools.reduce(jnp.logical_and, finite)
        scores = {}
        if validation is not None:
            measured = step.measure(member._replace(run=member.run._replace(seed=seed)), validation)
            scores = _values(measured)
            member = member._replace(run=note_validation(member.run, scores))
        return member, _values(totals), scores, member.run.step, alive

    own = 0 if jnp.ndim(seed) else None
    axes = (0, None if rows is None else 0, own, own)
    with batched():
        return jax.vmap(one, in_axes=axes)(members, rows, batches, seed)


def _values(measured: dict[str, Any]) -> dict[str, jax.Array]:
    return {name: metric.value() for name, metric in measured.items()}
