"""Centred, scaled and whitened inputs make a round valley, in which descent needs fewer steps.

Gradient descent on all examples at once, from weights of zero, on two convex problems whose Hessian
is that of the inputs: linear regression on two correlated features far from 0, and softmax
regression on scikit-learn's digits. Six forms of the inputs, fitted on the training split; κ is the
condition number of E[x̃x̃ᵀ], x̃ = (x, 1), over the directions in which x varies. Each form has the
best rate of a grid; it has arrived where its loss stays below a target.

Lecture E: preprocessing; LeCun et al. 1998, "Efficient BackProp", section 4.3. Lecture E calls
whitening not applied to images, which is a custom: the test accuracy stands beside it.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import data, nn, optim, train
from experiments.choice import at_least
from experiments.frame import BaseConfig, Claim, Figure, Result, Table

LECUN = "lecture E; LeCun et al. 1998"
CLAIMS = tuple(
    one
    for name in ("regression", "digits")
    for one in (
        Claim(f"{name}, κ: turned (decorrelated alone) / centred", "1 ± 0.01", "algebra"),
        Claim(f"{name}, κ: whitened, the larger of PCA's and ZCA's", "≤ 1.01", "algebra"),
        Claim(f"{name}, steps: raw / centred", "≥ 1", LECUN),
        Claim(f"{name}, steps: centred / standardised", "> 1", LECUN),
        Claim(f"{name}, steps: standardised / whitened by ZCA", "> 1", LECUN),
        Claim(f"{name}, steps: centred / turned", "1 ± 0.01", "algebra"),
    )
)
# Of 1/λ, where λ is the Hessian's largest eigenvalue at the start: quadratics converge below 2.
RATES = (0.5, 1.0, 1.5, 1.9, 4.0, 8.0, 16.0, 32.0)
SIX = {
    "raw": lambda x: lambda new: new,
    "centred": lambda x: lambda new: data.normalize(data.fit_centering(x), new),
    "standardised": lambda x: lambda new: data.normalize(data.mean_and_std(x, per="feature"), new),
    "turned": lambda x: lambda new: data.whiten(data.fit_decorrelation(x), new),
    "PCA whitened": lambda x: lambda new: data.whiten(data.fit_pca(x), new),
    "ZCA whitened": lambda x: lambda new: data.whiten(data.fit_zca(x), new),
}


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """How long is descended, and to where."""

    steps: int = 20_000
    """At most, on the regression; an eightieth of it on the digits."""
    share: float = 1e-5
    """Of the regression's loss above its minimum, that is to be left."""
    target: float = 0.1
    """The training loss on the digits that is to be reached."""
    seed: int = 0
    """Of the regression's examples."""

    def __post_init__(self) -> None:
        at_least(4, steps=self.steps)
        at_least(0, share=self.share, target=self.target, seed=self.seed)


SMOKE = Config(steps=60, share=0.99, target=2.2)


class Problem(NamedTuple):
    """Examples, the objective of a layer, the curvature and minimum of its loss, and the loss
    wanted.
    """

    name: str
    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    outputs: int
    objective: Any
    curvature: float  # the Hessian's largest eigenvalue is that times the one of E[x̃x̃ᵀ]
    minimum: float
    target: float
    steps: int


class Arm(NamedTuple):
    """One form of one problem's inputs: steps to the target, and the loss at some steps."""

    problem: str
    form: str
    condition: float
    rate: float
    steps: float
    test_accuracy: float | None
    shown: list[int]  # steps, evenly on a logarithmic axis
    losses: list[float]  # after these, above the minimum, in float32's reach of it


def run(config: Config) -> list[Arm]:
    """Descends on both problems, in each form."""
    return [
        measure(problem, form) for problem in (regression(config), digits(config)) for form in SIX
    ]


def figures(result: Result[list[Arm]]) -> list[float]:
    """What each form brings."""
    found = []
    for name in dict.fromkeys(arm.problem for arm in result.measured):
        arms = {arm.form: arm for arm in result.measured if arm.problem == name}
        κ = {form: arm.condition for form, arm in arms.items()}
        steps = {form: arm.steps for form, arm in arms.items()}
        found += [
            κ["turned"] / κ["centred"],
            max(κ["PCA whitened"], κ["ZCA whitened"]),
            steps["raw"] / steps["centred"],
            steps["centred"] / steps["standardised"],
            steps["standardised"] / steps["ZCA whitened"],
            steps["centred"] / steps["turned"],
        ]
    return found


def table(result: Result[list[Arm]]) -> Table:
    """A line for each arm."""
    yield "problem", "inputs", "κ", "best rate", "steps", "test accuracy"
    for arm in result.measured:
        accuracy = None if arm.test_accuracy is None else f"{arm.test_accuracy:.3f}"
        yield arm.problem, arm.form, arm.condition, arm.rate, arm.steps, accuracy


def plot(result: Result[list[Arm]]) -> Figure:
    """The loss over the steps, each form at its best rate."""
    from dlcore import plot

    panels: dict[str, dict[str, Any]] = {}
    for arm in result.measured:
        label = f"{arm.form}, κ = {arm.condition:,.3g}"
        series = panels.setdefault(arm.problem, {})
        series[label] = (arm.shown, arm.losses)
    return plot.lines(
        *(
            plot.Panel(name[0].upper() + name[1:], "steps", "loss above its minimum", series, "xy")
            for name, series in panels.items()
        )
    )


def regression(config: Config) -> Problem:
    """Two features of deviations 1 and 5, correlated by 0.9, about (5, 5), and a linear answer."""
    rng = np.random.default_rng(config.seed)
    normal = rng.normal(size=(1_000, 2)) @ np.linalg.cholesky([[1, 0.9], [0.9, 1]]).T
    x = (5 + normal * [1, 5]).astype(np.float32)
    y = (x @ [[1.0], [-0.5]] + 2 + rng.normal(size=(1_000, 1))).astype(np.float32)
    residual = np.linalg.lstsq(np.c_[x, np.ones(1_000)].astype(float), y)[1][0] / 1_000
    target = residual + config.share * (np.mean(y.astype(float) ** 2) - residual)
    both = {"x": x, "y": y}
    arguments = both, both, 1, train.regression, 2.0, residual, target
    return Problem("regression", *arguments, config.steps)


def digits(config: Config) -> Problem:
    """Scikit-learn's digits, as rows of 64 pixels."""
    rows = data.transform(data.load("digits"), lambda x: x.reshape(len(x), -1))
    arguments = rows.train, rows.test, 10, train.classification
    # At equal probabilities p the Hessian of cross-entropy is (diag p − ppᵀ) ⊗ E[x̃x̃ᵀ].
    return Problem("digits", *arguments, 0.1, 0.0, config.target, max(1, config.steps // 80))


def measure(problem: Problem, form: str) -> Arm:
    """One form of the inputs, at the rate that comes down first."""
    prepare = SIX[form](problem.train["x"])
    batch, test = ({**part, "x": prepare(part["x"])} for part in (problem.train, problem.test))
    x = np.c_[batch["x"], np.ones(len(batch["x"]))].astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(x.T @ x / len(x))
    varying = eigenvalues[eigenvalues > 1e-9 * eigenvalues[-1]]
    layer, objective = learner(problem.objective, x.shape[1] - 1, problem.outputs)
    start, _ = layer.init(jax.random.key(0))
    rates = np.array(RATES) / (problem.curvature * eigenvalues[-1])
    found = descend(objective, problem.steps, batch, start, jnp.asarray(rates, jnp.float32))
    losses = np.nan_to_num(np.asarray(found.value), nan=np.inf)
    above = losses > problem.target
    since = problem.steps + 1 - above[:, ::-1].argmax(1)  # the step from which on none is above
    steps = np.where(above[:, -1], np.inf, np.where(above.any(1), since, 0))
    best = int(np.argmin(steps))
    shown = np.unique(np.geomspace(1, problem.steps, 200).round().astype(int))
    accuracy = None
    if problem.outputs > 1:
        params = jax.tree.map(lambda leaf: leaf[best], found.x)
        accuracy = float(train.evaluate(objective, params, (), test)["accuracy"])
    return Arm(
        problem=problem.name,
        form=form,
        condition=float(varying[-1] / varying[0]),
        rate=float(rates[best]),
        steps=float(steps[best]),
        test_accuracy=accuracy,
        shown=shown.tolist(),
        losses=np.maximum(losses[best, shown] - problem.minimum, 1e-6).tolist(),
    )


@functools.cache
def learner(objective: Any, inputs: int, outputs: int) -> tuple[nn.Layer, Any]:
    """The linear layer and its objective, one for all forms, so that they share a program."""
    layer = nn.linear(inputs, outputs, kernel_init=nn.init.zeros)
    return layer, objective(layer)


@functools.partial(jax.jit, static_argnums=(0, 1))
def descend(objective: Any, steps: int, batch: Any, start: Any, rates: jax.Array) -> optim.Path:
    """Gradient descent on the whole batch, at every rate at once."""

    def one(rate: jax.Array) -> optim.Path:
        return optim.path(
            lambda params: objective(params, (), batch)[0],
            start,
            optim.sgd(rate),
            steps,
            record=lambda params: (),
        )

    return jax.vmap(one)(rates)
