"""Triplets teach distances: a network tells persons that it has never seen, better than LDA.

Embeddings of faces (AT&T: 40 persons, ten pictures of each) by the triplet loss. The test is on
pairs of ten persons held out: is it the same one? Beside it stand the pixels themselves, and PCA
followed by LDA. Then the three ways to mine triplets, and how the hardest ones from the start make
all embeddings equal: the loss stands at the margin.

Every setting was chosen by persons whom none of the five test splits has (the validation split of
all), but that LDA is also given the number of components that does best on those held out. All
pictures are standardised, by which light matters less, and those that the network learns are
mirrored, moved, turned, zoomed and lit anew each time.

Lecture C; Schroff et al. 2015 (FaceNet); Hermans et al. 2017.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import defaultdict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import data, models, nn, optim, train
from dlcore import functional as F
from dlcore.data import augment, faces
from dlcore.data.augment import images
from experiments.choice import at_least, at_most, one_of
from experiments.frame import Claim, DataConfig, Figure, Result, Table

SCHROFF = "Schroff et al. 2015, 3.2"
CLAIMS = (
    Claim("AUC of persons held out, mean of the splits: triplets", "≥ 0.975", "lecture C"),
    Claim("the same: triplets − the better of PCA and LDA", "> 0", "lecture C"),
    Claim("the same: the worse of PCA and LDA − pixels", "> 0", "Belhumeur et al. 1997"),
    Claim("the hardest triplets from the start: loss / margin at the end", "1 ± 0.05", SCHROFF),
    Claim("semi-hard ones: mean distance / that of the hardest", "> 2", SCHROFF),
)
PICTURES = 3  # of each person in a batch
MINING = ("batch_all", "semi_hard", "batch_hard")
COMPONENTS = (20, 60)  # the best by the validation split, and by the persons held out


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    updates: int = 450
    """Of the network of each split."""
    persons: int = 12
    """In a batch, three pictures of each."""
    splits: int = faces.SPLITS
    """So many of the five splits, the first ones."""
    width: int = 16
    """Maps of the network's first convolution."""
    margin: float = 0.5
    """By which a stranger shall be farther, in squared distance."""
    size: int = 48
    """Pixels of a picture's side."""
    mining: tuple[str, ...] = MINING
    """Ways to mine that are compared, on the first split."""
    mining_updates: int = 150
    """Of each way to mine."""

    def __post_init__(self) -> None:
        at_least(1, updates=self.updates, splits=self.splits, width=self.width)
        at_least(1, mining_updates=self.mining_updates)
        at_least(2, persons=self.persons)
        at_most(20, persons=self.persons)
        at_least(8, size=self.size)
        for way in self.mining:
            one_of("way to mine", way, MINING)
        at_most(faces.SPLITS, splits=self.splits)


SMOKE = Config(updates=1, persons=10, splits=1, width=2, size=8, mining=())


class Scores(NamedTuple):
    """What a method makes of persons held out."""

    auc: float
    equal_error_rate: float
    true_accepts: float  # at one false accept in a hundred
    nearest: float  # whose nearest neighbour is the same person
    mean_average_precision: float


class Mined(NamedTuple):
    """How one way to mine went."""

    course: list[tuple[int, float, float, float]]  # updates, loss, active share, mean distance
    auc: float  # of the validation split
    collapsed: bool  # a warning was given


class Measured(NamedTuple):
    """What is known of persons held out by each method, a row for each split; the ways to mine."""

    scores: dict[str, list[Scores]]
    curves: dict[str, list[list[float]]]  # true accepts at the rates SHOWN
    mining: dict[str, Mined]
    neighbours: np.ndarray  # uint8 [10, 1 + NEIGHBOURS, H, W]: one picture a person, its nearest
    right: list[list[bool]]  # [10, NEIGHBOURS]: the same person


SHOWN = np.geomspace(1e-3, 1, 50)  # rates of false accepts
NEIGHBOURS = 5


def run(config: Config) -> Measured:
    """Learns and tests each split, then mines in all ways."""
    scores, curves = defaultdict(list), defaultdict(list)
    sheet: Any = None
    for split in range(config.splits):
        learned, test = parts(config, split)
        embedded = methods(config, learned, test, split)
        for method, embeddings in embedded.items():
            found, curve = verified(embeddings, test["y"])
            scores[method].append(found)
            curves[method].append(curve)
        sheet = sheet or neighbours(embedded["triplets"], test)
    return Measured({**scores}, {**curves}, mining(config), *sheet)


def figures(result: Result[Measured]) -> list[float | None]:
    """What is claimed of the means, and of mining."""
    measured, margin = result.measured, result.config.margin
    auc = {method: mean(splits).auc for method, splits in measured.scores.items()}
    lda = [value for method, value in auc.items() if "LDA" in method]
    loss = {how: one.course[-1][1] for how, one in measured.mining.items()}
    apart = {how: one.course[-1][3] for how, one in measured.mining.items()}
    both = {"semi_hard", "batch_hard"} <= {*apart}
    return [
        auc["triplets"],
        auc["triplets"] - max(lda),
        min(lda) - auc["pixels"],
        loss["batch_hard"] / margin if "batch_hard" in loss else None,
        apart["semi_hard"] / apart["batch_hard"] if both else None,
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """The means over the splits, the area of each of them, and the ways to mine."""
    measured = result.measured
    heads = ("AUC", "EER", "accepted at 1 % false", "recall@1", "mAP")
    held_out: list[tuple[Any, ...]] = [("mean of the splits", *heads)]
    splits = range(len(measured.scores["triplets"]))
    areas: list[tuple[Any, ...]] = [("AUC", *(f"split {split}" for split in splits), "±")]
    for method, scores in measured.scores.items():
        held_out.append((method, *(f"{number:.4f}" for number in mean(scores))))
        each = [one.auc for one in scores]
        areas.append((method, *(f"{number:.4f}" for number in (*each, np.std(each)))))
    ways: list[tuple[Any, ...]] = [
        ("mining", "loss", "active", "mean squared distance", "validation AUC", "collapse")
    ]
    for how, one in measured.mining.items():
        numbers = *one.course[-1][1:], one.auc
        told = "warned of" if one.collapsed else "none"
        ways.append((how, *(f"{number:.4f}" for number in numbers), told))
    return {"Is it the same person?": held_out, "Persons held out": areas, "Ways to mine": ways}


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """ROC curves, how mining went, and a sheet of nearest neighbours."""
    from dlcore import plot

    measured = result.measured
    curves = {name: (SHOWN, np.mean(each, axis=0)) for name, each in measured.curves.items()}

    def course(title: str, y: str, column: int, **how: Any) -> plot.Panel:
        columns = {name: [*zip(*one.course, strict=True)] for name, one in measured.mining.items()}
        series = {name: (each[0], each[column]) for name, each in columns.items()}
        return plot.Panel(title, "updates", y, series, **how)

    captions = [
        caption
        for right in measured.right
        for caption in ("held out", *("same" if one else "ANOTHER" for one in right))
    ]
    roc = plot.Panel(
        "Persons held out, mean of the splits",
        "false accepts",
        "true accepts",
        curves,
        log="x",
        percent=True,
    )
    drawn = {
        "roc": plot.lines(roc),
        "neighbours": plot.image_grid(
            np.concatenate(measured.neighbours) / 255, captions, columns=1 + NEIGHBOURS
        ),
    }
    if measured.mining:
        drawn["mining"] = plot.lines(
            course("Loss", "triplet loss", 1, level=("margin", result.config.margin)),
            course("Active", "share of the triplets", 2, percent=True),
            course("Mean distance", "squared distance", 3),
        )
    return drawn


def parts(config: Config, split: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """All who are not held out, and those who are."""
    loaded = data.load("att_faces", config.root, split=split)
    known = {k: np.concatenate([loaded.train[k], loaded.validation[k]]) for k in ("x", "y")}
    return prepared(known, config.size), prepared(loaded.test, config.size)


def prepared(part: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Small pictures, each of mean 0 and deviation 1."""
    x = data.resize(part["x"], size)
    means, stds = (f(x, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.std))
    return {**part, "x": (x - means) / stds}


def methods(
    config: Config, learned: dict[str, np.ndarray], test: dict[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """The embeddings of the persons held out, by each method."""
    return {
        "triplets": triplets(config, learned, test, seed),
        **{f"PCA {n}, LDA": lda(learned, test, n) for n in COMPONENTS},
        "pixels": test["x"].reshape(len(test["x"]), -1),
    }


def lda(learned: dict[str, np.ndarray], test: dict[str, np.ndarray], components: int) -> np.ndarray:
    """Fisherfaces: principal components, then the axes that part the persons, compared by angle."""
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    x, new = (part["x"].reshape(len(part["x"]), -1) for part in (learned, test))
    pipeline = make_pipeline(
        PCA(components, random_state=0),
        LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto"),
        Normalizer(),
    )
    return pipeline.fit(x, learned["y"]).transform(new).astype(np.float32)


def triplets(
    config: Config, learned: dict[str, np.ndarray], test: dict[str, np.ndarray], seed: int
) -> np.ndarray:
    """Embeddings by the network."""
    layer = models.embedding_net((config.size, config.size, 1), width=config.width)
    *_, last = records(config, layer, learned, "batch_all", config.updates, seed)
    return embedded(layer, last.state, test["x"])


def records(
    config: Config,
    layer: nn.Layer,
    learned: dict[str, np.ndarray],
    how: Any,
    updates: int,
    seed: int,
) -> Any:
    """What `fit` says of a network that learns with triplets mined so."""
    objective = train.metric_learning(layer, mining=how, margin=config.margin)
    optimizer = optim.adam(optim.warmup_cosine(1e-3, updates, warmup_steps=updates // 10))
    batch_size = config.persons * PICTURES
    return train.fit(
        train.make_step(train.augmented(objective, augment.inputs(seen_anew)), optimizer),
        train.train_state(layer, optimizer, seed=seed),
        learned,
        epochs=-(-updates // data.batches_per_epoch(len(learned["y"]), batch_size)),
        batch_size=batch_size,
        order=data.per_class(learned["y"], classes=config.persons, examples=PICTURES),
    )


def seen_anew(key: jax.Array, picture: jax.Array) -> jax.Array:
    """Mirrored or not; moved, turned and zoomed, by one map; of other brightness and contrast."""
    angle, zoom, dy, dx, contrast, light = jax.random.uniform(
        jax.random.fold_in(key, 0), (6,), minval=-1, maxval=1
    ) * jnp.array([0.15, 0.12, 3, 3, 0.3, 0.3])
    cos, sin = (1 + zoom) * jnp.cos(angle), (1 + zoom) * jnp.sin(angle)
    picture = images.random_flip(jax.random.fold_in(key, 1), picture)
    picture = images.affine(picture, ((cos, -sin), (sin, cos)), (dy, dx))
    return (1 + contrast) * picture + light


def embedded(layer: nn.Layer, state: train.TrainState, x: np.ndarray) -> np.ndarray:
    """The mean of the embeddings of a picture and of its mirror image, of length 1."""
    both = [train.predict(layer, state.params, state.state, one) for one in (x, x[:, :, ::-1])]
    total = sum(both)
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def verified(embeddings: np.ndarray, labels: np.ndarray) -> tuple[Scores, list[float]]:
    """Whether near means the same person, and the ROC curve."""
    *numbers, curve = jax.device_get(_verified(_distances(embeddings), labels))
    return Scores(*map(float, numbers)), curve.tolist()


_distances = jax.jit(F.distances)


@jax.jit
def _verified(distances: jax.Array, labels: jax.Array) -> tuple[jax.Array, ...]:
    scores, is_same = F.verification_pairs(distances, labels)
    false_accepts, true_accepts, _ = F.roc_curve(scores, is_same)
    return (
        F.roc_auc(scores, is_same),
        F.equal_error_rate(scores, is_same),
        F.true_accept_rate(scores, is_same, false_accept_rate=0.01),
        F.recall_at_k(distances, labels, 1),
        F.mean_average_precision(distances, labels),
        jnp.interp(jnp.asarray(SHOWN, jnp.float32), false_accepts, true_accepts),
    )


def mean(splits: list[Scores]) -> Scores:
    """Over the splits."""
    return Scores(*np.mean(splits, axis=0).tolist())


def mining(config: Config) -> dict[str, Mined]:
    """Each way to mine, on the first split's persons; the test is on its validation."""
    loaded = data.load("att_faces", config.root, split=0)
    learned, test = (prepared(part, config.size) for part in (loaded.train, loaded.validation))
    layer = models.embedding_net((config.size, config.size, 1), width=config.width)
    return {how: mined(config, layer, learned, test, how) for how in config.mining}


def mined(
    config: Config,
    layer: nn.Layer,
    learned: dict[str, np.ndarray],
    test: dict[str, np.ndarray],
    how: str,
) -> Mined:
    """One way to mine."""
    course, collapsed = [], False
    for record in records(config, layer, learned, how, config.mining_updates, 0):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", train.CollapseWarning)
            loss, active, distance = (record.metrics[k] for k in ("loss", "active", "distance"))
        course.append((record.step, float(loss), float(active), float(distance)))
        collapsed = collapsed or bool(said)
    scores, _ = verified(embedded(layer, record.state, test["x"]), test["y"])
    return Mined(course, scores.auc, collapsed)


def neighbours(
    embeddings: np.ndarray, test: dict[str, np.ndarray]
) -> tuple[np.ndarray, list[list[bool]]]:
    """The first picture of each person with its nearest ones, and whether they are the same."""
    d = np.asarray(_distances(embeddings))
    first = np.unique(test["y"], return_index=True)[1]
    nearest = np.argsort(d[first], axis=1)[:, : 1 + NEIGHBOURS]
    nearest[:, 0] = first
    x = test["x"][..., 0]
    low, high = (np.percentile(x, p, axis=(1, 2), keepdims=True) for p in (1, 99))
    right = test["y"][nearest[:, 1:]] == test["y"][first][:, None]
    grey = (255 * np.clip((x - low) / (high - low), 0, 1)).astype(np.uint8)
    return grey[nearest], right.tolist()
