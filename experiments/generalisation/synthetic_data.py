"""A network that has only seen digits of printed fonts reads handwriting; a few real ones help.

Digits are drawn from the fonts that come with matplotlib, then moved at random (turned, scaled,
stretched, sheared, shifted, bent), so that no two are alike. A network of one hidden layer learns
them alone, handwritten digits of MNIST alone, or both together, and is tested on MNIST. Where both
are learned, the real ones are repeated until they are half of what is seen.

Lecture C: "or just use synthetic data", as from the animated film Sintel (Butler et al. 2012), of
which this is the smallest example.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np

from dlcore import data, models, optim
from dlcore.data import augment
from dlcore.data.augment import images
from experiments._learning import accuracy, first, learn
from experiments.choice import at_least
from experiments.frame import Claim, DataConfig, Figure, Result, Table

CLAIMS = (
    Claim("test accuracy, only drawn digits (chance: 0.1)", "> 0.5", "lecture C"),
    Claim("test accuracy, drawn and the fewest real − these alone", "> 0", "lecture C"),
    Claim("test accuracy, drawn and the fewest real − only drawn", "> 0", "lecture C"),
    Claim("what the drawn bring: beside the fewest real − the most", "> 0", "lecture C"),
)
SIZE, LARGE = 28, 112
HEIGHT = 20  # pixels, that of MNIST's digits
MOVED = augment.chain(
    functools.partial(images.random_rotation, limit=15.0),
    functools.partial(images.random_scale, limit=0.15),
    functools.partial(images.random_stretch, limit=0.25),
    functools.partial(images.random_shear, limit=0.3),
    functools.partial(images.random_crop, padding=2),
    functools.partial(images.random_elastic, alpha=34.0, sigma=4.0),
)


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    drawn: int = 10_000
    """Digits drawn."""
    real: tuple[int, ...] = (0, 100, 1_000)
    """So many digits of MNIST are learned beside them, or alone: none first, then more and more."""
    test_images: int = 10_000
    """Digits of MNIST to test on."""
    updates: int = 1_000
    """Updates of every network, with batches of 100."""
    seeds: int = 2
    """Each network is trained from so many seeds; accuracies are means."""

    def __post_init__(self) -> None:
        at_least(10, drawn=self.drawn, test_images=self.test_images)
        at_least(1, updates=self.updates, seeds=self.seeds)
        if len(self.real) < 3 or self.real[0] != 0 or list(self.real) != sorted(set(self.real)):
            raise ValueError(
                f"real is {self.real}, but 0 and two or more rising numbers are wanted"
            )


SMOKE = Config(drawn=40, real=(0, 10, 20), test_images=20, updates=2, seeds=1)


@dataclasses.dataclass(frozen=True)
class Measured:
    """Test accuracies of each seed, for each number of real digits."""

    both: list[list[float]]  # with the drawn ones
    alone: list[list[float]]  # for all numbers but 0
    pictures: np.ndarray = dataclasses.field(repr=False)  # printed, moved, real: ten of each


def run(config: Config) -> Measured:
    """Draws digits, and learns them with and without real ones."""
    digits = data.load("mnist", config.root)
    originals = printed()
    synthetic = moved(originals, config.drawn)
    test = first(digits.test, config.test_images)
    layer = models.mlp(hidden=[256], dropout=0)
    rate = optim.warmup_cosine(1e-3, config.updates, warmup_steps=config.updates // 20)
    optimizer = optim.adam(rate)

    def measure(examples: dict[str, np.ndarray]) -> list[float]:
        trained = [
            learn(layer, examples, optimizer, config.updates, batch_size=100, seed=seed)
            for seed in range(config.seeds)
        ]
        return [accuracy(layer, one, test) for one in trained]

    both = [measure(joined(synthetic, first(digits.train, count))) for count in config.real]
    alone = [
        measure(repeated(first(digits.train, count), 2 * config.drawn)) for count in config.real[1:]
    ]
    pictures = [one["x"][:10] for one in (originals, synthetic, digits.train)]
    return Measured(both, alone, np.concatenate(pictures))


def figures(result: Result[Measured]) -> list[float]:
    """Synthetic data alone, and beside few and more real ones."""
    only, few, *_, many = np.mean(result.measured.both, 1)
    few_alone, *_, many_alone = np.mean(result.measured.alone, 1)
    return [only, few - few_alone, few - only, (few - few_alone) - (many - many_alone)]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each number of real digits."""

    def shown(accuracies: list[float]) -> str:
        return f"{np.mean(accuracies):.2%} ± {np.std(accuracies):.2%}"

    headings = "real digits", f"with {result.config.drawn:,} drawn", "alone"
    both = map(shown, result.measured.both)
    alone = [None, *map(shown, result.measured.alone)]
    return {"Test accuracy": [headings, *zip(result.config.real, both, alone, strict=True)]}


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """Accuracies, and digits of the three kinds."""
    from dlcore import plot

    groups: dict[str, dict[str, float]] = {}
    for count, both, alone in zip(
        result.config.real, result.measured.both, [[], *result.measured.alone], strict=True
    ):
        bars = {f"with {result.config.drawn:,} drawn": float(np.mean(both))}
        groups[f"{count:,} real"] = bars | ({"alone": float(np.mean(alone))} if alone else {})
    names = [name if i == 0 else "" for name in ("printed", "moved", "real") for i in range(10)]
    return {
        "accuracy": plot.bars(
            groups, title="Handwritten digits read", y="test accuracy", percent=True
        ),
        "pictures": plot.image_grid(result.measured.pictures, names, columns=10),
    }


def printed() -> dict[str, np.ndarray]:
    """The ten digits in every font that matplotlib brings along, HEIGHT pixels high, in the middle.

    Left out are fonts of symbols, and those whose digits are not told apart.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    paths = [
        path
        for pattern in ("DejaVuS*.ttf", "STIXGeneral*.ttf", "cmr10.ttf", "cmss10.ttf", "cmtt10.ttf")
        for path in sorted(folder.glob(pattern))
        if "Display" not in path.stem
    ]
    glyphs = [glyph(path, digit) for path in paths for digit in range(10)]
    return {"x": np.stack(glyphs), "y": np.tile(np.arange(10, dtype=np.int32), len(paths))}


def glyph(path: Path, digit: int) -> np.ndarray:
    """One digit of a font, white on black: float32 [SIZE, SIZE, 1]."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(path), LARGE)
    left, top, right, bottom = font.getbbox(str(digit))
    large = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(large).text((-left, -top), str(digit), fill=255, font=font)
    width = max(1, round(large.width * HEIGHT / large.height))
    small = np.asarray(large.resize((width, HEIGHT), Image.Resampling.BOX), np.float32) / 255
    frame = np.zeros((SIZE, SIZE, 1), np.float32)
    y, x = (SIZE - HEIGHT) // 2, (SIZE - width) // 2
    frame[y : y + HEIGHT, x : x + width, 0] = small
    return frame


def moved(originals: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """So many of the originals in turn, each moved in its own way."""
    examples = repeated(originals, count)
    return jax.tree.map(np.asarray, jax.jit(augment.inputs(MOVED))(jax.random.key(0), examples))


def repeated(examples: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The examples again and again, `count` in all."""
    rows = np.arange(count) % len(examples["y"])
    return {name: leaf[rows] for name, leaf in examples.items()}


def joined(synthetic: dict[str, np.ndarray], real: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The synthetic digits, and the real ones repeated to as many, or the former twice."""
    other = real if len(real["y"]) else synthetic
    other = repeated(other, len(synthetic["y"]))
    return {name: np.concatenate([leaf, other[name]]) for name, leaf in synthetic.items()}
