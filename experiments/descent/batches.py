"""Small batches learn most in an epoch; a batch of all pays for every copy of an example.

A small network learns handwritten digits in batches of 1, 10, 100, 1,000 and all, each at the rate
of a grid that has the least validation loss. Then the training set is made of ten copies of a tenth
of it: how many examples are looked at until the loss is down to what the batch of all reaches?

Lecture A: mini-batches converge faster although they take more steps; lectures C and E: redundancy
in the training set favours them; lectures D and E: memory grows with the batch, and large batches
end worse. After equal epochs they do, since their updates are few; whether more updates would make
up for it is not asked here. Seconds are measured and shown, but nothing is claimed of them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore import data, models, optim, search, train
from experiments._learning import first
from experiments.choice import at_least
from experiments.descent._curve import curve
from experiments.descent._rates import at_best_rate
from experiments.frame import Claim, DataConfig, Figure, Result, Table

CLAIMS = (
    Claim("training loss in the end: all at once − batches of 100", "> 0", "lecture A"),
    Claim("test accuracy: best of the batches up to 100 − all at once", "> 0", "lectures D, E"),
    Claim("memory of an update: batches of 10,000 / 1,000", "10 ± 3", "lecture E"),
    Claim("ten copies / one, examples looked at, all at once", "10 ± 1", "lectures C, E"),
    Claim("ten copies / one, examples looked at, batches of 10", "≤ 2", "lectures C, E"),
)
RATES = {1: 0.01, 10: 0.05, 100: 0.2, 1000: 0.5}  # the middle one of each size
LARGE = 0.5  # of all at once
COPIES = 10


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    sizes: tuple[int, ...] = tuple(RATES)
    """Of the batches, 100 always among them; all at once is another."""
    images: int = 4_000
    """Digits of MNIST to learn: all at once is a batch of so many."""
    epochs: int = 8
    """Passes over them."""
    width: int = 32
    """Hidden units."""
    copied_epochs: int = 40
    """Passes over the tenth; the batch of all sets its goal there."""

    def __post_init__(self) -> None:
        at_least(200, images=self.images)
        at_least(2, epochs=self.epochs, copied_epochs=self.copied_epochs)
        at_least(1, width=self.width)
        if 100 not in self.sizes or not set(self.sizes) <= set(RATES):
            raise ValueError(f"sizes are 100 and others of {tuple(RATES)}, got {self.sizes}")


SMOKE = Config(sizes=(100,), images=200, epochs=2, width=4, copied_epochs=4)


class Score(NamedTuple):
    """A batch size at the rate chosen.

    losses: over all the training digits, after each epoch. seconds: of an epoch. memory: bytes that
    an update takes beside the state and the digits.
    """

    rate: float
    losses: list[float]
    accuracy: float
    seconds: float
    memory: int


class Measured(NamedTuple):
    """The score of each batch size; examples looked at with ten copies over those with one.

    growth: the memory of an update, batches of 10,000 over those of 1,000.
    """

    scores: dict[int, Score]
    growth: float
    copies: dict[int, float]


def run(config: Config) -> Measured:
    """Learns with each batch size, then with copies."""
    digits = data.load("mnist", config.root)
    parts = [first(part, config.images) for part in (digits.train, digits.validation, digits.test)]
    layer = models.mlp(parts[0]["x"].shape[1:], (config.width,), dropout=0.0)
    objective = train.classification(layer)
    sizes = {size: RATES[size] for size in config.sizes if size < len(parts[0]["y"])}
    sizes[len(parts[0]["y"])] = LARGE
    scores = {
        size: measure(layer, objective, size, rate, parts, config) for size, rate in sizes.items()
    }
    growth = memory(layer, objective, parts[0], 10_000) / memory(layer, objective, parts[0], 1000)
    return Measured(scores, growth, copied(layer, objective, parts[0], config))


def figures(result: Result[Measured]) -> list[float]:
    """What small batches bring, and what many examples cost."""
    scores, growth, copies = result.measured
    whole = scores[max(scores)]
    small = max(one.accuracy for size, one in scores.items() if size <= 100)
    few, many = copies.values()
    return [
        whole.losses[-1] - scores[100].losses[-1],
        small - whole.accuracy,
        growth,
        many,
        few,
    ]


def table(result: Result[Measured]) -> Table:
    """A line for each batch size."""
    yield "batch", "rate", "training loss", "test accuracy", "s an epoch", "kilobytes"
    for size, one in result.measured.scores.items():
        shown = (f"{one.losses[-1]:.4f}", f"{one.accuracy:.3f}", f"{one.seconds:.3f}")
        yield size, f"{one.rate:.2g}", *shown, f"{one.memory / 1e3:,.0f}"


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """The loss against epochs and against seconds; the memory of an update."""
    from dlcore import plot

    scores, copied = result.measured.scores, result.measured.copies

    def panel(x: str, seconds: bool) -> Any:
        lines = {}
        for size, one in scores.items():
            epochs = np.arange(1, len(one.losses) + 1)
            lines[f"batches of {size:,}"] = (epochs * (one.seconds if seconds else 1), one.losses)
        return plot.Panel("Training loss", x, "loss", lines, log="xy" if seconds else "y")

    sizes = list(scores)
    bytes_ = {"memory": (sizes, [one.memory / 1e3 for one in scores.values()])}
    copies = {
        f"batches of {size:,}": {"examples looked at": ratio} for size, ratio in copied.items()
    }
    return {
        "batches": plot.lines(
            panel("epoch", seconds=False),
            panel("seconds", seconds=True),
            plot.Panel("Memory of an update", "batch", "kilobytes", bytes_, log="xy"),
        ),
        "copies": plot.bars(copies, title="Ten copies of each digit, against one", y="ratio"),
    }


def measure(
    layer: Any,
    objective: train.Objective,
    size: int,
    rate: float,
    parts: list[dict[str, np.ndarray]],
    config: Config,
) -> Score:
    """One batch size: three rates on validation, then the curve and the seconds of the best."""
    examples, validation, test = parts
    arms = search.space.grid(learning_rate=[rate / 3, rate, 3 * rate])
    found = search.sweep(
        lambda arm: (layer, objective, optim.sgd(arm["learning_rate"])),
        arms,
        examples,
        epochs=config.epochs,
        batch_size=size,
        validation=validation,
    )
    chosen = at_best_rate(found)[0].configuration["learning_rate"]
    optimizer = optim.sgd(chosen)
    step, state = train.make_step(objective, optimizer), train.train_state(layer, optimizer)
    losses, last = curve(step, state, examples, config.epochs, size)
    times = [
        record.seconds
        for record in train.fit(step, state, examples, epochs=config.epochs, batch_size=size)
    ]
    scored = train.evaluate(objective, last.params, last.state, test)
    return Score(
        rate=chosen,
        losses=losses.tolist(),
        accuracy=float(scored["accuracy"]),
        seconds=(times[-1] - times[0]) / (len(times) - 1),
        memory=memory(layer, objective, examples, size),
    )


def memory(
    layer: Any, objective: train.Objective, examples: dict[str, np.ndarray], size: int
) -> int:
    """Bytes that XLA reserves for an update beside its arguments and results. Nothing is run."""
    optimizer = optim.sgd(0.1)
    step = train.make_step(objective, optimizer)
    batch = {
        name: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype)
        for name, leaf in examples.items()
    }
    state = train.train_state(layer, optimizer)
    analysis: Any = jax.jit(step).lower(state, batch).compile().memory_analysis()
    return int(analysis.temp_size_in_bytes)


def copied(
    layer: Any, objective: train.Objective, examples: dict[str, np.ndarray], config: Config
) -> dict[int, float]:
    """Examples looked at until the goal, with ten copies over those with one, by batch size."""
    one = first(examples, len(examples["y"]) // COPIES)
    ten = {name: np.concatenate([leaf] * COPIES) for name, leaf in one.items()}
    whole = len(one["y"])

    def until(goal: float, examples: dict[str, np.ndarray], size: int) -> tuple[int, float]:
        rate = RATES[10] if size == 10 else LARGE
        return looked_at(layer, objective, examples, one, size, rate, goal, config)

    all_of_one, goal = until(-np.inf, one, whole)
    all_of_ten, _ = until(goal, ten, COPIES * whole)
    return {
        10: until(goal, ten, 10)[0] / until(goal, one, 10)[0],
        whole: all_of_ten / all_of_one,
    }


def looked_at(
    layer: Any,
    objective: train.Objective,
    examples: dict[str, np.ndarray],
    distinct: dict[str, np.ndarray],
    size: int,
    rate: float,
    goal: float,
    config: Config,
) -> tuple[int, float]:
    """Examples until the loss over the distinct ones is at the goal, or all; and that loss."""
    optimizer = optim.sgd(rate)
    records = train.fit(
        train.make_step(objective, optimizer),
        train.train_state(layer, optimizer),
        examples,
        epochs=config.copied_epochs,
        batch_size=size,
        every=max(1, len(distinct["y"]) // size),
    )
    for record in records:
        state = record.state
        loss = float(train.evaluate(objective, state.params, state.state, distinct)["loss"])
        if loss <= goal:
            break
    return record.step * size, loss
