from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from experiments.basics import _finding, _scenes, photographs, predict

FIVE = [(70, 0), (10, 0), (0, 60), (50, 50), (75, 90), (50, 130), (0, 125)]


def drawn(left=80, top=60, width=10):
    image = Image.new("L", (260, 260))
    ImageDraw.Draw(image).line([(left + x, top + y) for x, y in FIVE], 255, width, joint="curve")
    return np.asarray(image) / 255


FIVE_INK = drawn()[60:190, 80:165]


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


def seen(box, class_):
    return predict.Digit(predict.Seen(box, np.zeros((28, 28, 1))), np.eye(10)[class_])


def test_the_share_right_counts_what_is_found_beside_the_digits(monkeypatch):
    scene = _scenes.clean([np.ones((12, 8))] * 2, np.random.default_rng(0), _scenes.plain)
    picture = photographs.Picture(scene, [3, 4])
    first, second = scene.boxes
    said = [seen(first, 3), seen(second, 7), seen(_finding.Box(0, 0, 5, 5), 4)]
    monkeypatch.setattr(photographs, "look", lambda *_: [])
    monkeypatch.setattr(predict, "recognise", lambda *_: [said])
    network = predict.Network(None, None, None, {})
    assert photographs.score([picture], network) == pytest.approx((1 / 3, 2 / 3))


@pytest.mark.parametrize("table", _scenes.TABLES["known"])
@pytest.mark.parametrize("count", [0, 1])
def test_what_lies_on_a_table_is_read_and_the_table_is_not(table, count):
    for seed in range(2):
        scene = _scenes.sheet([FIVE_INK] * count, np.random.default_rng(seed), table)
        found = _finding.find(_scenes.eight_bits(scene.picture) / 255)
        assert len(found) == count
        if count:
            np.testing.assert_allclose(found[0].box, scene.boxes[0], atol=4)


@pytest.mark.parametrize("table", [_scenes.leaves, _scenes.cloth, _scenes.checked])
def test_where_there_is_no_sheet_there_is_no_digit(table):
    assert _finding.find(np.clip(table(300, 300, np.random.default_rng(1)), 0, 1)) == []


def backgrounds():
    """Papers [260, 260, 3] on which there is something already."""
    y, x = np.mgrid[:260, :260]
    white, blue = np.array((0.95, 0.95, 0.95)), np.array((0.6, 0.7, 0.85))
    yield "lined", np.where((y % 45 < 2)[..., None], blue, white)
    yield "squared", np.where(((y % 18 < 1) | (x % 18 < 1))[..., None], blue, white)
    yield "sharp shadow", np.where((x + y > 260)[..., None], 0.4, 0.95) * np.ones(3)
    yield "a shadow's spot", np.where(np.hypot(x - 130, y - 60) < 60, 0.4, 0.95)[..., None] * white
    sign = np.where(np.hypot(x - 120, y - 130) < 105, 0.2, 0.95)
    yield "a disc", np.stack([np.full_like(sign, 0.8), sign, sign], axis=-1)


@pytest.mark.parametrize("paper", [pytest.param(p, id=name) for name, p in backgrounds()])
def test_a_digit_is_found_on_paper_that_is_not_bare(paper):
    ink = drawn()[..., None]
    colour = np.array((0.98, 0.98, 0.98)) if paper[130, 120, 1] == 0.2 else np.full(3, 0.08)
    (digit,) = _finding.find(paper * (1 - ink) + colour * ink)
    np.testing.assert_allclose(digit.box, _finding.enclosing(drawn()), atol=3)


def test_a_small_sheet_and_one_in_perspective_are_read():
    ink = drawn()
    page = _scenes.eight_bits(painted(ink))
    corners = np.array([(0, 0), (260, 0), (260, 260), (0, 260)], np.float32)
    for there in (
        [(60, 90), (170, 80), (190, 200), (50, 190)],
        [(90, 20), (330, 60), (370, 350), (30, 300)],
    ):
        seen_from = cv2.getPerspectiveTransform(corners, np.array(there, np.float32))
        table = _scenes.eight_bits(_scenes.wood(380, 400, np.random.default_rng(0)))
        picture = cv2.warpPerspective(
            page, seen_from, (400, 380), table, borderMode=cv2.BORDER_TRANSPARENT
        )
        (digit,) = _finding.find(picture / 255)
        place = _finding.enclosing(cv2.warpPerspective(ink, seen_from, (400, 380)))
        np.testing.assert_allclose(digit.box, place, atol=4)


def test_digits_are_read_line_by_line():
    picture = np.ones((420, 500, 3))
    corners = [(60, 40), (200, 70), (340, 50), (90, 240), (230, 210)]
    for left, top in reversed(corners):
        picture[top : top + 16, left : left + 70] = 0.1
        picture[top : top + 130, left + 54 : left + 70] = 0.1  # a 7
    found = _finding.find(picture)
    np.testing.assert_allclose([digit.box[:2] for digit in found], corners, atol=3)


def test_a_frame_that_the_border_cuts_is_no_digit():
    picture = np.full((300, 200, 3), 0.95)
    picture[40:46, :180] = picture[260:266, :180] = picture[40:266, 174:180] = 0.1
    assert _finding.find(picture) == []
