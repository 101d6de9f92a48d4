"""A network that has only seen digits of printed fonts reads handwriting; a few real ones help.

Digits are drawn from the fonts that come with matplotlib, then moved at random (turned, scaled,
stretched, sheared, shifted, bent), so that no two are alike. A network of one hidden layer learns
them alone, handwritten digits of MNIST alone, or both together, and is tested on MNIST. Where both
are learned, the real ones are repeated until they are half of what is seen.

    test accuracy, only drawn digits                           > 50 %  (chance: 10 %)
    test accuracy, drawn and 100 real − 100 real               > 0
    test accuracy, drawn and 100 real − only drawn             > 0
    what the drawn ones bring: beside 100 − beside 1,000 real  > 0

Lecture C: "or just use synthetic data", as from the animated film Sintel (Butler et al. 2012), of
which this is the smallest example.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from dlcore import data, models, optim
from dlcore.data import augment
from dlcore.data.augment import images
from experiments import claim
from experiments._learning import accuracy, first, learn
from experiments.choice import at_least

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
class Config:
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
    root: Path | None = None
    """Folder that holds the data set mnist; by default the user's cache."""
    out: Path | None = None
    """Folder for everything written; by default runs/synthetic_data."""

    def __post_init__(self) -> None:
        at_least(10, drawn=self.drawn, test_images=self.test_images)
        at_least(1, updates=self.updates, seeds=self.seeds)
        if len(self.real) < 3 or self.real[0] != 0 or list(self.real) != sorted(set(self.real)):
            raise ValueError(
                f"real is {self.real}, but 0 and two or more rising numbers are wanted"
            )

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(drawn=40, real=(0, 10, 20), test_images=20, updates=2, seeds=1)


@dataclasses.dataclass(frozen=True)
class Result:
    """Test accuracies of each seed, for each number of real digits."""

    both: list[list[float]]  # with the drawn ones
    alone: list[list[float]]  # for all numbers but 0
    seconds: float
    claims: list[claim.Claim]
    config: Config
    pictures: np.ndarray = dataclasses.field(repr=False)  # printed, moved, real: ten of each

    def __rich__(self) -> Any:
        """A row for each number of real digits."""
        from rich.table import Table

        def shown(accuracies: list[float]) -> str:
            return f"{np.mean(accuracies):.2%} ± {np.std(accuracies):.2%}"

        table = Table("real digits", f"with {self.config.drawn:,} drawn", "alone", title="Test")
        for count, both, alone in zip(self.config.real, self.both, [[], *self.alone], strict=True):
            table.add_row(f"{count:,}", shown(both), shown(alone) if alone else "")
        return table


def run(config: Config) -> Result:
    """Draws digits, and learns them with and without real ones."""
    began = time.perf_counter()
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
    return Result(
        both=both,
        alone=alone,
        pictures=np.concatenate(pictures),
        seconds=time.perf_counter() - began,
        claims=claims(both, alone, config),
        config=config,
    )


def plot(result: Result) -> dict[str, Figure]:
    """Accuracies, and digits of the three kinds."""
    from dlcore import plot

    groups: dict[str, dict[str, float]] = {}
    for count, both, alone in zip(
        result.config.real, result.both, [[], *result.alone], strict=True
    ):
        bars = {f"with {result.config.drawn:,} drawn": float(np.mean(both))}
        groups[f"{count:,} real"] = bars | ({"alone": float(np.mean(alone))} if alone else {})
    names = [name if i == 0 else "" for name in ("printed", "moved", "real") for i in range(10)]
    return {
        "accuracy": plot.bars(
            groups, title="Handwritten digits read", y="test accuracy", percent=True
        ),
        "pictures": plot.image_grid(result.pictures, names, columns=10),
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


def claims(both: list[list[float]], alone: list[list[float]], config: Config) -> list[claim.Claim]:
    """Synthetic data alone, and beside few and more real ones."""
    only, few, *_, many = (float(np.mean(accuracies)) for accuracies in both)
    few_alone, *_, many_alone = (float(np.mean(accuracies)) for accuracies in alone)
    least, most = f"{config.real[1]:,}", f"{config.real[-1]:,}"
    return [
        claim.more_than("only drawn digits: test accuracy", 0.5, only, "lecture C"),
        claim.more_than(f"drawn + {least} real − {least} real", 0, few - few_alone, "lecture C"),
        claim.more_than(f"drawn + {least} real − only drawn", 0, few - only, "lecture C"),
        claim.more_than(
            f"gain by drawn: beside {least} − {most}",
            0,
            (few - few_alone) - (many - many_alone),
            "lecture C",
        ),
    ]
