from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw
from rich.console import Console

from dlcore import data
from dlcore.interop import weights
from experiments import frame
from experiments.basics import _framing, classify, predict

MNIST, DIGITS = _framing.FRAMINGS["mnist"], _framing.FRAMINGS["digits"]


@pytest.fixture(scope="module")
def drawings():
    """Test digits of the set trained on as pictures: (brightness [200, 200], label)."""
    test = classify.load(classify.Config(model="mlp")).test
    images = [Image.fromarray(x[..., 0]).resize((100, 100), 2) for x in test["x"][:40]]
    paper = np.zeros((40, 200, 200), np.float32)
    paper[:, 60:160, 30:130] = np.stack([np.asarray(image) for image in images])
    return paper, test["y"][:40]


def photograph(ink, rng):
    """Dark ink on gray paper in uneven light, with noise."""
    y, x = np.mgrid[-1 : 1 : ink.shape[0] * 1j, -1 : 1 : ink.shape[1] * 1j]
    light = 0.7 + 0.15 * x - 0.1 * y - 0.05 * (x * x + y * y)
    return light * (1 - 0.7 * ink) + rng.normal(0, 0.02, ink.shape)


def save(path, brightness):
    Image.fromarray(np.uint8(np.clip(brightness, 0, 1) * 255)).save(path)
    return path


def stroke(size, points, width):
    image = Image.new("L", size)
    ImageDraw.Draw(image).line(points, fill=255, width=width)
    return np.asarray(image) / 255


def accuracy(trained, folder, pictures, labels):
    paths = tuple(save(folder / f"{i}.png", one) for i, one in enumerate(pictures))
    result = predict.run(predict.Config(paths, trained / "weights.safetensors", top=1))
    said = np.array([int(one.classes[0]) for one in result.predictions])
    return (said == labels).mean()


def test_drawn_inverted_and_photographed_digits_are_read(trained, drawings, tmp_path):
    ink, labels = drawings
    rng = np.random.default_rng(0)
    assert accuracy(trained, tmp_path, ink, labels) > 0.9
    assert accuracy(trained, tmp_path, 1 - ink, labels) > 0.9
    assert accuracy(trained, tmp_path, [photograph(one, rng) for one in ink], labels) > 0.9


def test_the_command_tells_the_most_probable_classes(
    command, trained, drawings, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "[one].png", drawings[0][0])
    weights = trained / "weights.safetensors"
    status, out, err = command("predict", "--weights", weights, "[one].png")
    assert (status, err) == (0, "")
    assert "[one].png" in out
    assert out.count("%") == 3
    assert sorted(one.name for one in tmp_path.iterdir()) == ["[one].png"]


def test_a_long_path_is_shown_whole(trained, drawings, tmp_path):
    path = save(tmp_path / f"{'a' * 200}.png", drawings[0][0])
    console = Console(width=100)
    with console.capture() as printed:
        console.print(frame.run(predict, predict.Config((path,), trained / "weights.safetensors")))
    rows = [line.split("│")[1].strip() for line in printed.get().splitlines() if "│" in line]
    assert "".join(rows) == str(path)


def test_probabilities_are_ranked_and_a_figure_shows_what_was_seen(trained, drawings, tmp_path):
    path = save(tmp_path / "digit.png", drawings[0][0])
    config = predict.Config((path, path), trained / "weights.safetensors", top=10)
    result = frame.run(predict, config)
    one, other = result.measured.predictions
    assert one == other
    assert sum(one.probabilities) == pytest.approx(1, abs=1e-5)
    assert list(one.probabilities) == sorted(one.probabilities, reverse=True)
    assert sorted(one.classes) == [str(digit) for digit in range(10)]
    assert result.measured.seen.shape == (2, 8, 8, 1)
    assert len(predict.plot(result).axes) == 2


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16", "JPEG"])
def test_every_kind_of_picture_gives_the_same_ink(mode, tmp_path):
    drawn = stroke((60, 80), [(20, 10), (35, 70)], 6) > 0
    eight = Image.fromarray(np.uint8(np.where(drawn, 230, 20)))
    path = tmp_path / "picture"
    if mode == "I;16":
        Image.fromarray(np.where(drawn, 60_000, 5_000).astype(np.uint16)).save(path, "PNG")
    elif mode == "JPEG":
        eight.save(path, "JPEG", quality=95)
    elif mode in ("RGBA", "LA"):  # nothing but ink, on glass
        clear = Image.new(mode, eight.size)
        clear.putalpha(Image.fromarray(np.uint8(255 * drawn)))
        clear.save(path, "PNG")
    else:
        eight.convert(mode).save(path, "PNG")
    ink = _framing.ink(_framing.gray(predict.read(path)))
    assert ((ink > 0.5) == drawn).mean() > 0.99


def test_a_digit_is_the_same_wherever_and_however_large_it_is_drawn():
    shapes = []
    for scale, (left, top) in ((1, (5, 5)), (2, (60, 20)), (6, (10, 150))):
        points = [(left + scale * x, top + scale * y) for x, y in ((0, 0), (20, 0), (6, 40))]
        ink = _framing.ink(stroke((400, 440), points, 5 * scale))
        shapes.append(_framing.frame(ink, MNIST))
    for shape in shapes[:-1]:
        assert np.corrcoef(shape.ravel(), shapes[-1].ravel())[0, 1] > 0.85


def test_the_frame_of_mnist_is_as_lecun_describes_it():
    image = _framing.frame(_framing.ink(stroke((300, 200), [(60, 40), (90, 160)], 14)), MNIST)
    rows, columns = (np.flatnonzero((image > 0.05).any(axis=other)) for other in (1, 0))
    assert image.shape == (28, 28)
    assert rows[-1] - rows[0] + 1 == 20
    assert columns[-1] - columns[0] + 1 < 12
    for other in (0, 1):
        assert abs(np.average(np.arange(28), weights=image.sum(axis=other)) - 14) <= 0.5
    assert image.max() == 1
    assert image.min() == 0


def test_the_frame_of_the_digits_fills_the_height():
    image = _framing.frame(_framing.ink(stroke((300, 200), [(20, 60), (280, 140)], 14)), DIGITS)
    assert image.shape == (8, 8)
    assert (image > 0.05).any(axis=1).all()
    assert (image > 0.05).any(axis=0).sum() <= 6


def test_thin_strokes_are_made_as_broad_as_those_trained_on():
    points = [(40, 20), (160, 30), (90, 180)]
    thin, broad = (
        _framing.frame(_framing.ink(stroke((200, 200), points, width)), MNIST) for width in (2, 20)
    )
    assert thin.sum() > 0.7 * broad.sum()


def test_specks_are_no_digits():
    drawn = stroke((200, 200), [(80, 60), (120, 140)], 10)
    speckled = drawn.copy()
    speckled[5:8, 190:193] = 1
    np.testing.assert_array_equal(
        _framing.frame(_framing.ink(speckled), MNIST), _framing.frame(_framing.ink(drawn), MNIST)
    )


def test_weights_of_colour_images_see_colours():
    description = {"arguments": {"inputs": [32, 32, 3]}, "framing": None}
    picture = np.zeros((64, 64, 4), np.float32)
    picture[..., 0] = picture[..., 3] = 1
    image = predict.prepare(picture, description)
    assert image.shape == (32, 32, 3)
    np.testing.assert_allclose(image.mean(axis=(0, 1)), [1, 0, 0])


def bomb(width, height):
    """A PNG whose header promises far more than it holds."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def contents(tmp_path):
    whole = save(tmp_path / "whole.png", stroke((50, 50), [(10, 10), (40, 40)], 4)).read_bytes()
    return {
        "text": b"seven\n",
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "large": bomb(8_000, 8_000),
        "huge": bomb(100_000, 100_000),
        "short": bomb(1_000, 1_000),
    }


@pytest.mark.parametrize("kind", ["text", "empty", "cut", "large", "huge", "short"])
def test_a_file_that_is_no_picture_is_one_line(command, trained, tmp_path, kind):
    (tmp_path / "bad.png").write_bytes(contents(tmp_path)[kind])
    status, out, err = command("predict", "bad.png", "--weights", trained / "weights.safetensors")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("bad.png: ")


@pytest.mark.parametrize("kind", ["white", "black", "noise", "gradient", "pixel"])
def test_a_picture_with_nothing_on_it_is_one_line(command, trained, tmp_path, kind):
    rng = np.random.default_rng(0)
    pictures = {
        "white": np.ones((50, 40)),
        "black": np.zeros((50, 40)),
        "noise": 0.5 + rng.normal(0, 0.05, (100, 100)),
        "gradient": np.linspace(0.2, 0.9, 100)[:, None] * np.ones((100, 80)),
        "pixel": np.ones((1, 1)),
    }
    save(tmp_path / "blank.png", pictures[kind])
    status, out, err = command("predict", "blank.png", "--weights", trained / "weights.safetensors")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("blank.png: nothing is drawn on it")


def test_other_bad_input_is_one_line(command, trained, tmp_path):
    good = trained / "weights.safetensors"
    picture = save(tmp_path / "good.png", stroke((50, 50), [(10, 10), (40, 40)], 4))
    weights.save(tmp_path / "other.safetensors", {"kernel": np.zeros(3)}, {"classes": ["0"]})
    tree, description = weights.load(good)
    narrow = description | {"arguments": description["arguments"] | {"hidden": [3]}}
    weights.save(tmp_path / "narrow.safetensors", tree, narrow)
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-7])
    cases = {
        "missing.png: No such file": ("missing.png", "--weights", good),
        ".: Is a directory": (".", "--weights", good),
        "there is no picture": ("--weights", good),
        "top must be at least 1": (picture, "--weights", good, "--top", 0),
        "nowhere.safetensors": (picture, "--weights", "nowhere.safetensors"),
        "cut.safetensors": (picture, "--weights", "cut.safetensors"),
        "other.safetensors: describes no model": (picture, "--weights", "other.safetensors"),
        "narrow.safetensors: ": (picture, "--weights", "narrow.safetensors"),
    }
    for said, flags in cases.items():
        status, out, err = command("predict", *flags)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert said in err


@pytest.mark.slow
def test_mnist_images_are_framed_as_they_were(shared_data):
    """The framing is close to the identity on images that have been framed already."""
    images = data.load("mnist", shared_data).test["x"][:200, ..., 0]
    framed = np.stack([_framing.frame(_framing.ink(image), MNIST) for image in images])
    assert np.abs(framed - images).mean() < 0.01
