"""L1 makes exact zeros and chooses inputs, L2 shrinks all weights; both can stop overfitting.

Softmax regression on digits of 14×14 pixels is trained with λ/2m Σ|θ|, with λ/2m Σθ², and with
their mean, the elastic net, by proximal steps; and with the first by its subgradient. All λ are
trained at once (vmap), each step on the whole training set, of m examples; the θ are the weights,
not the biases. Which λ is best is asked of validation. Then a network of one hidden layer gets
every pixel a second time, shuffled among the examples: noise with the same values. A group of
weights is all that leave one input; the group penalty, proximal, says which inputs it uses.

Towards λ = 0 descent has not arrived when it stops, and that is a penalty too: scikit-learn, which
does arrive, overfits more there.

Lecture B: regularisation, with λ/2m; C and E: elastic net, sparsity, feature selection. Tibshirani
1996; Zou and Hastie 2005; Yuan and Lin 2006.
"""

from __future__ import annotations

import dataclasses
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from dlcore import data, models, nn, optim, train, tree
from experiments._learning import first
from experiments.choice import at_least, positive, rising
from experiments.frame import Claim, DataConfig, Figure, Result, Table

CLAIMS = (
    Claim("weights exactly 0, largest λ: L1 by its proximal step", "> 0.5", "Tibshirani 1996"),
    Claim("weights exactly 0, any λ: L1 by its subgradient", "≤ 0", "lecture B"),
    Claim("norm of the weights as λ grows: L2's largest step up", "≤ 0", "lecture B"),
    Claim("test accuracy: best L1 − without", "> 0", "lecture B"),
    Claim("test accuracy: best L2 − without", "> 0", "lecture B"),
    Claim("test accuracy: best elastic net − without", "> 0", "lecture C"),
    Claim("test accuracy: best L2, distance to scikit-learn's", "≤ 0.01", "scikit-learn"),
    Claim("inputs used at the best λ: pixels − shuffled pixels", "> 0", "lecture C"),
)
SIDE = 14
KERNELS = "**/kernel"
# The shares a and b of λ/2m (aΣ|θ| + bΣθ²).
PROXIMAL = {"L1": (1.0, 0.0), "L2": (0.0, 1.0), "elastic net": (0.5, 0.5)}
VARIES = 0.1  # the standard deviation from which a pixel counts as one that can tell something


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    train_images: int = 1_000
    """Digits of MNIST to learn from: m."""
    test_images: int = 5_000
    """Digits to choose λ on, and as many others to test on."""
    strengths: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    """The λ of λ/2m."""
    updates: int = 500
    """Steps of descent, each on all training images."""
    hidden: int = 32
    """Hidden units of the network that chooses its inputs."""

    def __post_init__(self) -> None:
        at_least(10, train_images=self.train_images, test_images=self.test_images)
        at_least(1, updates=self.updates, hidden=self.hidden, strengths=len(self.strengths))
        positive(strengths=self.strengths)
        rising(strengths=self.strengths)


SMOKE = Config(train_images=50, test_images=20, strengths=(1.0, 100.0), updates=20, hidden=4)


class Way(NamedTuple):
    """One penalty along the strengths: λ = 0 first, then the Config's."""

    zeros: list[float]  # share of the weights that are exactly 0
    norm: list[float]
    train: list[float]  # accuracies
    validation: list[float]
    test: list[float]

    @property
    def best(self) -> int:
        """Where validation is highest."""
        return int(np.argmax(self.validation))


class Measured(NamedTuple):
    """The paths, and the share of inputs that is used at each λ, of pixels and of noise."""

    ways: dict[str, Way]
    reference: list[float]  # scikit-learn's test accuracies with L2, at the Config's λ
    used: dict[str, list[float]]
    chooser: Way


def run(config: Config) -> Measured:
    """Trains every penalty along λ, scikit-learn beside it, and a network that chooses inputs."""
    digits = data.load("mnist", config.root)
    parts = [
        first(digits.train, config.train_images),
        first(digits.validation, config.test_images),
        first(digits.test, config.test_images),
    ]
    parts = [{**part, "x": data.resize(part["x"], SIDE)} for part in parts]
    centring = data.fit_centering(parts[0]["x"])
    parts = [{**part, "x": data.normalize(centring, part["x"])} for part in parts]
    reference = [logistic_regression(parts[0], parts[2], one) for one in config.strengths]
    return Measured(measure(parts, config), reference, *inputs_used(parts, config))


def figures(result: Result[Measured]) -> list[float]:
    """Zeros, shrinkage, generalisation, and the choice of inputs."""
    ways, reference, used, chooser = result.measured
    best = max(1, ways["L2"].best)  # scikit-learn has no λ = 0
    return [
        ways["L1"].zeros[-1],
        max(ways["L1, subgradient"].zeros),
        max(np.diff(ways["L2"].norm)),
        *(ways[name].test[ways[name].best] - ways[name].test[0] for name in PROXIMAL),
        abs(ways["L2"].test[best] - reference[best - 1]),
        used["pixels"][chooser.best] - used["noise"][chooser.best],
    ]


def table(result: Result[Measured]) -> Table:
    """A line for each λ."""
    ways, _, used, _ = result.measured
    names = [f"{name}: {what}" for name in ways for what in ("zeros", "test")]
    columns = [part for way in ways.values() for part in (way.zeros, way.test)]
    yield "λ", *names, *(f"{name} used" for name in used)
    for strength, *line in zip(
        (0.0, *result.config.strengths), *columns, *used.values(), strict=True
    ):
        yield f"{strength:g}", *(f"{figure:.3f}" for figure in line)


def plot(result: Result[Measured]) -> Figure:
    """Zeros, size and accuracy along λ, and the inputs used."""
    from dlcore import plot

    places = result.config.strengths
    series = {
        part: {name: (places, getattr(way, part)[1:]) for name, way in result.measured.ways.items()}
        for part in ("zeros", "norm", "train", "test")
    }
    series["test"]["L2, scikit-learn"] = (places, result.measured.reference)
    panels = [
        plot.Panel(title, "λ", y, series[part], log="x", percent=part != "norm")
        for part, title, y in (
            ("zeros", "Weights that are exactly 0", "share of the weights"),
            ("norm", "The size of the weights", "norm of the kernel"),
            ("train", "Accuracy in training", "accuracy"),
            ("test", "Accuracy in the test", "accuracy"),
        )
    ]
    used = {name: (places, shares[1:]) for name, shares in result.measured.used.items()}
    panels.append(
        plot.Panel(
            "Inputs used, with a penalty on groups", "λ", "share of them", used, "x", percent=True
        )
    )
    chosen = {
        part: (places, getattr(result.measured.chooser, part)[1:]) for part in ("train", "test")
    }
    panels.append(
        plot.Panel("Accuracy with these inputs", "λ", "accuracy", chosen, "x", percent=True)
    )
    return plot.lines(*panels)


def penalty(strength: Any, absolute: Any, square: Any, examples: int) -> optim.Penalty:
    """λ/2m (aΣ|θ| + bΣθ²) as an elastic net, whose form is s(ρΣ|θ| + ½(1 − ρ)Σθ²)."""
    both = absolute + 2 * square
    return optim.elastic_net(
        strength / (2 * examples) * both, mask=KERNELS, l1_ratio=absolute / both
    )


def path(layer: nn.Layer, examples: Any, optimizer: Any, settings: Any, config: Config) -> Any:
    """The parameters under optimizer(*setting), for all settings at once, stacked in front."""
    objective = train.classification(layer)

    def descend(setting: Any, examples: Any) -> Any:
        chosen = optimizer(*setting)
        step = train.make_step(objective, chosen)
        state = train.train_state(layer, chosen)
        return lax.fori_loop(0, config.updates, lambda _, s: step(s, examples)[0], state).params

    settings = tuple(map(jnp.asarray, zip(*settings, strict=True)))
    return jax.jit(jax.vmap(descend, in_axes=(0, None)))(settings, examples)


def measure(parts: list[Any], config: Config) -> dict[str, Way]:
    """Every penalty along λ, of softmax regression on the first of `parts`, scored on all."""
    layer, rate, m = models.linear((SIDE, SIDE, 1)), 8.0, config.train_images
    strengths = (0.0, *config.strengths)

    def optimizer(added: Any, strength: Any, absolute: Any, square: Any) -> Any:
        shrink = penalty(strength, absolute, square, m)
        l1 = optim.l1(added, mask=KERNELS, examples=m)
        return optax.chain(
            optim.add_penalty(l1),
            optim.momentum(rate, form="average"),
            optim.proximal(rate, shrink),
        )

    settings = [(0.0, s, *shares) for shares in PROXIMAL.values() for s in strengths]
    settings += [(s, 0.0, 1.0, 0.0) for s in strengths]
    params = path(layer, parts[0], optimizer, settings, config)
    kinds = (*PROXIMAL, "L1, subgradient")
    params = jax.tree.map(lambda leaf: leaf.reshape(len(kinds), -1, *leaf.shape[1:]), params)
    return {
        kind: scored(layer, parts, jax.tree.map(operator.itemgetter(i), params))
        for i, kind in enumerate(kinds)
    }


def scored(layer: nn.Layer, parts: list[Any], params: Any) -> Way:
    """What became of stacked parameters."""
    kernels = tree.partition(params, tree.mask(params, KERNELS))[0]

    @jax.jit
    def outputs(params: Any, x: Any) -> Any:
        return jax.vmap(lambda one: layer.apply(one, (), x)[0])(params)

    def right(part: Any) -> list[float]:
        labels = np.asarray(outputs(params, part["x"])).argmax(-1)
        return np.mean(labels == part["y"], axis=1).tolist()

    return Way(
        jax.vmap(tree.sparsity)(kernels).tolist(),
        jax.vmap(tree.global_norm)(kernels).tolist(),
        *map(right, parts),
    )


def logistic_regression(examples: Any, test: Any, strength: float) -> float:
    """scikit-learn's test accuracy with L2: it minimises C·Σ loss + ½Σθ², so that C = 1/λ."""
    from sklearn.linear_model import LogisticRegression

    flat = [part["x"].reshape(len(part["y"]), -1) for part in (examples, test)]
    fitted = LogisticRegression(C=1 / strength, max_iter=1_000).fit(flat[0], examples["y"])
    return float(fitted.score(flat[1], test["y"]))


def inputs_used(parts: list[Any], config: Config) -> tuple[dict[str, list[float]], Way]:
    """Which share of the pixels that vary, and of their shuffled twins, has a weight that is not 0.

    One for each λ; and the paths' scores.
    """
    varies = parts[0]["x"].reshape(len(parts[0]["y"]), -1).std(0) > VARIES
    layer = models.mlp(2 * SIDE * SIDE, [config.hidden], dropout=0)
    rate, m = 0.2, config.train_images

    def grouped(strength: Any) -> optax.GradientTransformation:
        groups = optim.group_lasso(strength / (2 * m), mask="linear1/kernel")
        return optax.chain(optim.sgd(rate), optim.proximal(rate, groups))

    twins = [with_noise(part, seed) for seed, part in enumerate(parts)]
    settings = [(strength,) for strength in (0.0, *config.strengths)]
    params = path(layer, twins[0], grouped, settings, config)
    alive = (np.asarray(params["linear1"]["kernel"]) != 0).any(-1)
    used = {
        name: alive[:, half][:, varies].mean(1).tolist()
        for name, half in (("pixels", slice(SIDE * SIDE)), ("noise", slice(SIDE * SIDE, None)))
    }
    return used, scored(layer, twins, params)


def with_noise(part: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Each pixel, and behind them each once more, shuffled among the examples."""
    pixels = part["x"].reshape(len(part["y"]), -1)
    noise = np.random.default_rng(seed).permuted(pixels, axis=0)
    return {**part, "x": np.concatenate([pixels, noise], axis=1)}
