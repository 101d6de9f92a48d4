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
from experiments.basics import _finding, _framing, classify, predict

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


def enlarged(image):
    return np.asarray(Image.fromarray(np.uint8(255 * image)).resize((224, 224))) / 255


def accuracy(trained, folder, pictures, labels):
    paths = tuple(save(folder / f"{i}.png", one) for i, one in enumerate(pictures))
    config = predict.Config(paths, trained / "weights.safetensors", 1, folder / "seen.png")
    said = {one.image: one.classes for one in predict.run(config).predictions}
    return np.mean([said[str(path)] == (str(y),) for path, y in zip(paths, labels, strict=True)])


def look(path):
    """The strokes of the one digit in a file, in the size of the file."""
    (digit,) = _finding.find(_framing.opaque(predict.read(path).pixels))
    return digit


def framed(drawn, framing):
    (digit,) = _finding.find(np.repeat(drawn[..., None], 3, axis=-1))
    return _framing.frame(digit.ink, framing)


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
    assert "runs/predict.png" in out
    assert (tmp_path / "runs" / "predict.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["[one].png", "runs"]


def test_a_long_path_is_shown_whole(trained, drawings, tmp_path):
    path = save(tmp_path / f"{'a' * 200}.png", drawings[0][0])
    config = predict.Config((path,), trained / "weights.safetensors", seen=tmp_path / "seen.png")
    console = Console(width=100)
    with console.capture() as printed:
        console.print(frame.run(predict, config))
    rows = [line.split("│")[1].strip() for line in printed.get().splitlines() if "│" in line]
    assert "".join(rows) == str(path)


def test_probabilities_are_ranked_and_a_figure_shows_what_was_seen(trained, drawings, tmp_path):
    path = save(tmp_path / "digit.png", drawings[0][0])
    config = predict.Config(
        (path, path), trained / "weights.safetensors", 10, tmp_path / "seen.png"
    )
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
    eight = Image.fromarray(np.uint8(np.where(drawn, 255, 0)))
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
    digit, scale = look(path), predict.read(path).scale
    rows, columns = (np.flatnonzero(drawn.any(axis=other)) for other in (1, 0))
    place = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    np.testing.assert_allclose(np.multiply(digit.box, scale), place, atol=2)


def test_a_digit_is_the_same_wherever_and_however_large_it_is_drawn():
    shapes = []
    for scale, (left, top) in ((1, (5, 5)), (2, (60, 20)), (6, (10, 150))):
        points = [(left + scale * x, top + scale * y) for x, y in ((0, 0), (20, 0), (6, 40))]
        shapes.append(framed(stroke((400, 440), points, 5 * scale), MNIST))
    for shape in shapes[:-1]:
        assert np.corrcoef(shape.ravel(), shapes[-1].ravel())[0, 1] > 0.85


def test_the_frame_of_mnist_is_as_lecun_describes_it():
    image = framed(stroke((300, 200), [(60, 40), (90, 160)], 14), MNIST)
    rows, columns = (np.flatnonzero((image > 0.05).any(axis=other)) for other in (1, 0))
    assert image.shape == (28, 28)
    assert rows[-1] - rows[0] + 1 == 20
    assert columns[-1] - columns[0] + 1 < 12
    for other in (0, 1):
        assert abs(np.average(np.arange(28), weights=image.sum(axis=other)) - 14) <= 0.5
    assert image.max() == 1
    assert image.min() == 0


def test_the_frame_of_the_digits_fills_the_height():
    image = framed(stroke((300, 200), [(20, 20), (280, 20), (150, 180)], 14), DIGITS)
    assert image.shape == (8, 8)
    assert (image > 0.05).any(axis=1).all()
    assert (image > 0.05).any(axis=0).sum() <= 6


def test_thin_strokes_are_made_as_broad_as_those_trained_on():
    points = [(40, 20), (160, 30), (90, 180)]
    thin, broad = (framed(stroke((200, 200), points, width), MNIST) for width in (2, 20))
    assert thin.sum() > 0.7 * broad.sum()


def test_specks_are_no_digits():
    drawn = stroke((200, 200), [(80, 60), (120, 140)], 10)
    speckled = drawn.copy()
    speckled[5:8, 190:193] = 1
    np.testing.assert_array_equal(framed(speckled, MNIST), framed(drawn, MNIST))


def test_weights_of_colour_images_see_colours():
    description = {"arguments": {"inputs": [32, 32, 3]}, "framing": None}
    picture = np.zeros((64, 64, 4), np.float32)
    picture[..., 0] = picture[..., 3] = 1
    ((place, image),) = predict.look(predict.Picture(picture, 1.0), description)
    assert place is None
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
def test_a_picture_with_nothing_on_it_is_said_to_have_no_digit(command, trained, tmp_path, kind):
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
    assert (status, err) == (0, "")
    assert "no digit" in out
    assert "%" not in out


def test_the_forms_that_are_read_are_named(command, trained, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"seven")
    _, _, err = command("predict", "bad.png", "--weights", trained / "weights.safetensors")
    assert err == "bad.png: not a picture: neither PNG, JPEG, WebP nor BMP\n"


def test_a_picture_of_12_bits_in_16_is_as_light_as_it_should_be(tmp_path):
    drawn = np.where(stroke((60, 80), [(20, 10), (35, 70)], 6) > 0, 300, 4_000)
    Image.fromarray(drawn.astype(np.uint16)).save(tmp_path / "picture", "PNG")
    assert predict.read(tmp_path / "picture").pixels.max() == 1
    assert look(tmp_path / "picture").box.size > 100


def test_digits_are_told_for_the_picture_that_they_are_in(monkeypatch):
    monkeypatch.setattr(predict.train, "predict", lambda *args: args[-1]["x"])
    network = predict.Network(None, None, None, {})
    one, other, third = (predict.Seen(None, row) for row in np.eye(10, dtype=np.float32)[:3])
    told = predict.recognise(network, [[one, other], [], [third]])
    assert [[int(np.argmax(digit.probabilities)) for digit in found] for found in told] == [
        [0, 1],
        [],
        [2],
    ]


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


def test_several_digits_are_told_from_left_to_right_with_their_places(trained, tmp_path):
    drawn = np.zeros((300, 900))
    for left in (700, 100, 400):
        drawn[80:220, left : left + 20] = 1
        drawn[80:100, left - 60 : left] = 1  # a 7
    path = save(tmp_path / "three.png", 1 - drawn)
    config = predict.Config((path,), trained / "weights.safetensors", seen=tmp_path / "seen.png")
    result = frame.run(predict, config)
    places = [one.place for one in result.measured.predictions]
    np.testing.assert_allclose(places, [(x - 60, 80, x + 20, 220) for x in (100, 400, 700)], atol=3)
    assert len(predict.plot(result).axes) == 4  # in a square
    assert (tmp_path / "seen.png").is_file()


def test_a_picture_that_cannot_be_read_costs_a_line_not_the_others(
    command, trained, drawings, tmp_path
):
    good = save(tmp_path / "good.png", drawings[0][0]).name
    (tmp_path / "bad.png").write_bytes(b"seven")
    flags = "--weights", trained / "weights.safetensors", "--top", 1
    status, out, err = command("predict", "bad.png", good, "missing.png", *flags)
    assert status == 2
    assert "good.png" in out
    assert out.count("%") == 1
    first, second = err.splitlines()
    assert first.startswith("bad.png: ")
    assert second == "missing.png: No such file or directory"


def test_a_figure_that_cannot_be_drawn_costs_no_answer(command, trained, drawings, tmp_path):
    save(tmp_path / "good.png", drawings[0][0])
    (tmp_path / "runs").write_text("no folder")
    weights = trained / "weights.safetensors"
    status, out, err = command("predict", "good.png", "--weights", weights)
    assert (status, err) == (0, "")
    assert out.count("%") == 3
    assert "is not drawn" in out


@pytest.mark.parametrize("form", ["WEBP", "BMP"])
def test_other_forms_and_cameras_that_were_turned_are_read(form, tmp_path):
    drawn = stroke((300, 200), [(60, 40), (160, 40), (90, 160)], 14)
    eight = Image.fromarray(np.uint8(255 * drawn))
    upright = Image.Exif()
    upright[0x0112] = 6  # the camera was turned: the picture is to be turned back by 90°
    eight.save(tmp_path / "picture", form, **({"exif": upright} if form == "WEBP" else {}))
    height, width = predict.read(tmp_path / "picture").pixels.shape[:2]
    assert (height > width) == (form == "WEBP")
    assert look(tmp_path / "picture").box.size > 100


@pytest.mark.slow
def test_mnist_images_are_framed_as_they_were(shared_data):
    """The framing is close to the identity on images that have been framed already."""
    images = data.load("mnist", shared_data).test["x"][:200, ..., 0]
    found = [
        _finding.find(np.repeat(1 - enlarged(image)[..., None], 3, axis=-1)) for image in images
    ]
    pairs = [(one[0], image) for one, image in zip(found, images, strict=True) if len(one) == 1]
    assert len(pairs) > 0.97 * len(images)
    apart = [np.abs(_framing.frame(digit.ink, MNIST) - image).mean() for digit, image in pairs]
    assert np.mean(apart) < 0.03
