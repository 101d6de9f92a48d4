from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from experiments.basics import _finding, _scenes, photographs

FIVE = [(70, 0), (10, 0), (0, 60), (50, 50), (75, 90), (50, 130), (0, 125)]


def drawn(left=80, top=60, width=10):
    image = Image.new("L", (260, 260))
    ImageDraw.Draw(image).line([(left + x, top + y) for x, y in FIVE], 255, width, joint="curve")
    return np.asarray(image) / 255


def painted(ink, colour=(0.1, 0.1, 0.1), paper=(0.95, 0.95, 0.95)):
    return np.array(paper) + (np.array(colour) - paper) * ink[..., None]


def boxed(ink):
    image = Image.new("L", (260, 260))
    ImageDraw.Draw(image).rectangle([40, 30, 200, 220], outline=255, width=4)
    return np.maximum(ink, np.asarray(image) / 255)


def pictures():
    ink, rng = drawn(), np.random.default_rng(0)
    lit = np.where(np.add.outer(np.arange(260), np.arange(260)) > 250, 0.5, 1)[..., None]
    on_table = np.full((260, 260, 3), 0.2)
    on_table[25:230, 30:220] = painted(ink)[25:230, 30:220]
    specks = ink.copy()
    specks[tuple(rng.integers(0, 260, (2, 60)))] = 1
    yield "black on white", ink, painted(ink)
    yield "white on black", ink, painted(ink, (0.9,) * 3, (0.1,) * 3)
    yield "red on green", ink, painted(ink, (0.8, 0.25, 0.2), (0.25, 0.51, 0.3))
    yield "in a shadow", ink, painted(ink) * lit
    yield "in a box", ink, painted(boxed(ink))
    yield "on a table", ink, on_table
    yield "specks", ink, painted(specks)
    yield "noise", ink, np.clip(painted(ink) + rng.normal(0, 0.08, (260, 260, 3)), 0, 1)
    yield "at the border", drawn(0, 60), painted(drawn(0, 60))


@pytest.mark.parametrize(("ink", "picture"), [pytest.param(i, p, id=k) for k, i, p in pictures()])
def test_a_digit_is_found_where_it_was_drawn(ink, picture):
    (digit,) = _finding.find(picture)
    np.testing.assert_allclose(digit.box, _finding.enclosing(ink), atol=3)


def test_neither_paper_nor_table_nor_an_empty_box_is_a_digit():
    bare = np.zeros((260, 260))
    table = np.full((260, 260, 3), 0.2)
    table[30:230, 40:220] = 0.95
    for picture in (painted(bare), painted(boxed(bare)), table):
        assert _finding.find(picture) == []


def test_red_on_green_has_one_grey_value():
    colours = np.array([(0.8, 0.25, 0.2), (0.25, 0.51, 0.3)])
    assert abs(np.diff(colours @ _scenes.GREY).item()) < 0.03


@pytest.mark.parametrize("kind", _scenes.KINDS)
@pytest.mark.parametrize("count", [0, 3])
def test_scenes_lie_in_range_and_know_their_digits(kind, count):
    rng = np.random.default_rng(0)
    if (kind, count) == ("border", 0):
        return
    inks = [np.ones((12, 8))] * count
    scene = _scenes.KINDS[kind](inks, rng, _scenes.wood)
    height, width, _ = scene.picture.shape
    assert len(scene.boxes) == count
    for left, top, right, bottom in scene.boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    assert [box.left for box in scene.boxes] == sorted(box.left for box in scene.boxes)
    assert _scenes.eight_bits(scene.picture).dtype == np.uint8


def test_the_share_right_counts_what_is_found_beside_the_digits(monkeypatch):
    scene = _scenes.clean([np.ones((12, 8))] * 2, np.random.default_rng(0), _scenes.plain)
    picture = photographs.Picture(scene, [3, 4])
    images = np.eye(10, dtype=np.float32)
    first, second = scene.boxes
    said = [(first, images[3]), (second, images[7]), (_finding.Box(0, 0, 5, 5), images[4])]
    monkeypatch.setattr(photographs, "read", lambda *_: said)
    monkeypatch.setattr(photographs.train, "predict", lambda *args: args[-1]["x"])
    assert photographs.score([picture], (None,) * 4) == pytest.approx((1 / 3, 2 / 3))
