from __future__ import annotations

import errno
import functools
import io
import os
import struct
import sys
import unicodedata
import zlib
from contextlib import suppress

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import data, nn, train
from dlcore import functional as F
from dlcore.data import DataError, HostData, folders
from dlcore.data.forms import DataWarning

Image = pytest.importorskip("PIL.Image", reason="needs Pillow")


def noise(height, width, channels=3, seed=0):
    shape = (height, width, channels)[: 2 if channels == 1 else 3]
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def picture(height=9, width=7, seed=0, form="PNG"):
    return encoded(Image.fromarray(noise(height, width, seed=seed)), form)


def fill(root, tree):
    """Pictures by path; None makes an empty folder."""
    for seed, (name, content) in enumerate(tree.items()):
        path = root / name
        if content is None:
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or picture(seed=seed))
    return root


TREE = {
    "train/dog/b.png": b"",
    "train/dog/a.PNG": b"",
    "train/cat/3.jpeg": picture(seed=50, form="JPEG"),
    "train/eel/x.JPG": picture(seed=51, form="JPEG"),
    "val/eel/1.png": b"",
    "val/cat/2.png": b"",
    "test/dog/1.png": b"",
}


@pytest.fixture
def root(tmp_path):
    return fill(tmp_path / "animals", TREE)


def opened(path, size):
    """The picture by Pillow alone, in [0, 1]; for pictures of 7×9 resized to short side `size`."""
    resized = Image.open(path).resize((size, 9 * size // 7), Image.Resampling.BILINEAR)
    top = round((resized.height - size) / 2)
    return np.asarray(resized.crop((0, top, size, top + size)), np.float32) / 255


# Labels and splits.


def test_labels_are_trains_sorted_folders_in_every_split(root):
    found = data.image_folder(root, resize=7, crop=7)
    assert found.classes == ("cat", "dog", "eel")
    for host, names in (
        (found.train, ["cat/3.jpeg", "dog/a.PNG", "dog/b.png", "eel/x.JPG"]),
        (found.validation, ["cat/2.png", "eel/1.png"]),
        (found.test, ["dog/1.png"]),
    ):
        assert isinstance(host, HostData)
        assert len(host) == len(names)
        batch = host.gather(np.arange(len(names)))
        assert batch["x"].dtype == np.float32
        assert batch["y"].dtype == np.int32
        assert [found.classes[y] for y in batch["y"]] == [name.split("/")[0] for name in names]
        (folder,) = {path.parents[1] for path in map(folders.Path, host.source.paths)}
        for image, name in zip(batch["x"], names, strict=True):
            np.testing.assert_allclose(image, opened(folder / name, 7), atol=1e-7)
    assert repr(found) == (
        "ImageFolder animals: 3 classes\n"
        "  train       4 pictures of 3 classes\n"
        "  validation  2 pictures of 2 classes\n"
        "  test        1 pictures of 1 classes"
    )


def test_batches_in_any_order_read_ahead(root):
    train = data.image_folder(root, resize=8, crop=6).train
    rows = [[3, 0], [1, 1], [2, 3]]
    everything = train.gather(np.arange(4))
    for indices, batch in zip(rows, data.prefetch(train, rows), strict=True):
        assert batch["x"].shape == (2, 6, 6, 3)
        np.testing.assert_array_equal(batch["x"], everything["x"][indices])
        np.testing.assert_array_equal(batch["y"], everything["y"][indices])
    assert train.gather(np.arange(0))["x"].shape == (0, 6, 6, 3)


def test_top_5_error_over_a_split(tmp_path):
    """As the docstring has it: of seven classes the network finds the first five likeliest."""
    tree = {f"{split}/{name}/1.png": b"" for split in ("train", "val") for name in "abcdefg"}
    pictures = data.image_folder(fill(tmp_path, tree), resize=7, crop=7)
    network = nn.serial(lambda x: jnp.zeros((x.shape[0], 7)) - jnp.arange(7.0))
    top_5 = train.metrics.mean_of(functools.partial(F.top_k_correct, k=5))
    objective = train.classification(network, metrics={"top-5": top_5})
    scores = train.evaluate(objective, (), (), pictures.validation, batch_size=3)
    np.testing.assert_allclose([scores["top-5"], scores["accuracy"]], [5 / 7, 1 / 7], rtol=1e-6)


def test_a_small_set_in_memory(root):
    loaded = data.image_folder(root, resize=7, crop=7).dataset()
    assert loaded.classes == ("cat", "dog", "eel")
    np.testing.assert_array_equal(loaded.validation["y"], [0, 2])
    np.testing.assert_allclose(loaded.test["x"][0], opened(root / "test/dog/1.png", 7), atol=1e-7)


def test_validation_is_another_name_of_val(root):
    (root / "val").rename(root / "validation")
    assert len(data.image_folder(root).validation) == 2


def test_without_train_the_labels_are_all_names(root):
    (root / "train").rename(root / "elsewhere")
    found = data.image_folder(root)
    assert found.classes == ("cat", "dog", "eel")
    np.testing.assert_array_equal(found.test.source.labels, [1])
    with pytest.raises(
        DataError, match=r"animals: there is no folder train, only \['validation', "
    ):
        _ = found.train


def test_what_is_passed_over_without_a_word(root):
    others = {
        "train/.ipynb_checkpoints/x.png": b"",
        "train/cat/.hidden/x.png": b"",
        "train/cat/._3.png": b"a resource fork",
        "train/cat/notes.txt": b"words",
        "train/cat/notes/words.txt": b"words",
        "train/readme.md": b"words",
    }
    found = data.image_folder(fill(root, others))
    assert found.classes == ("cat", "dog", "eel")
    assert len(found.train) == 4
    assert "passed over" not in repr(found)
    assert not any(found.passed_over.values())


def test_pictures_passed_over_are_counted(root, tmp_path):
    others = {
        "train/cat/deeper/x.png": b"",
        "train/cat/deeper/still/x.GIF": b"",
        "train/cat/deeper/.hidden/x.png": b"",
        "train/dog/x.GIF": b"",
        "train/dog/x.tiff": b"",
        "train/dog/y.tiff": b"",
        "train/x.png": b"",
        "test/dog/x.gif": b"",
    }
    fill(root, others)
    (root / "train" / "cat" / "circle").symlink_to(root)
    with pytest.warns(DataWarning) as caught:
        found = data.image_folder(root)
    said = "1 in no class folder, 1 of format .gif, 2 of format .tiff"
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert str(caught[0].message) == (
        f"{root}: pictures are passed over: train: 2 a level deeper, {said}; "
        "test: 1 of format .gif; CLASS/*.jpg, *.jpeg, *.jpe, *.jfif, *.png, *.webp, *.bmp are read"
    )
    assert len(found.train) == 4
    assert repr(found).splitlines()[1:] == [
        f"  train       4 pictures of 3 classes; passed over: 2 a level deeper, {said}",
        "  validation  2 pictures of 2 classes",
        "  test        1 pictures of 1 classes; passed over: 1 of format .gif",
    ]
    assert found.passed_over["test"] == {"of format .gif": 1}
    only = fill(tmp_path / "only", {"train/a/x.gif": b"", "train/a/b/x.png": b""})
    assert refusal(only).endswith("*.bmp, only 1 a level deeper, 1 of format .gif")


@pytest.mark.parametrize(
    ("suffix", "form", "options"),
    [
        (".webp", "WEBP", {"lossless": True}),
        (".bmp", "BMP", {}),
        (".jfif", "JPEG", {}),
        (".JPE", "JPEG", {}),
        (".png", "WEBP", {"lossless": True}),
    ],
)
def test_further_formats_are_read(tmp_path, suffix, form, options):
    image = Image.fromarray(noise(9, 7))
    content = encoded(image, form, **options)
    found = data.image_folder(fill(tmp_path, {f"train/a/1{suffix}": content}), resize=7, crop=7)
    expected = opened(io.BytesIO(content), 7)
    np.testing.assert_allclose(found.train.gather(np.arange(1))["x"][0], expected, atol=1e-7)
    assert found.damaged() == []


def test_class_names_are_compared_in_one_form_of_unicode(tmp_path):
    """As a set that was unpacked on a Mac in part: é as one letter, and as two."""
    composed, parted = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != parted
    tree = {f"train/{parted}/1.png": b"", "train/zoo/1.png": b"", f"val/{composed}/1.png": b""}
    found = data.image_folder(fill(tmp_path / "mac", tree), resize=7, crop=7)
    assert found.classes == (composed, "zoo")
    assert found.validation.source.labels.tolist() == [0]
    tree[f"train/{composed}/2.png"] = b""
    assert f"a second folder of the name {composed}" in refusal(fill(tmp_path / "both", tree))


def test_links_are_followed(root, tmp_path):
    away = fill(tmp_path / "away", {"a.png": b"", "b.png": b""})
    (root / "train" / "fox").symlink_to(away)
    (root / "train" / "cat" / "4.png").symlink_to(away / "a.png")
    found = data.image_folder(root)
    assert np.bincount(found.train.source.labels).tolist() == [2, 2, 1, 2]


def refusal(root, **options):
    with pytest.raises(DataError) as error:
        data.image_folder(root, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"train/ant": None}, "train/ant: holds no pictures"),
        ({"val/zebra/1.png": b""}, "val/zebra: train has no such class"),
        ({"validation/cat/1.png": b""}, "both val and validation are there"),
        ({"train/cat/x.png": None}, "cat/x.png: is named like a picture, but is no file"),
    ],
)
def test_folders_that_do_not_fit(root, tree, message):
    assert message in refusal(fill(root, tree))


def test_no_folders(root, tmp_path):
    assert "no folder train, val, validation or test" in refusal(tmp_path / "nowhere")
    assert "no folder train, val, validation or test" in refusal(root / "train")
    flat = fill(tmp_path / "flat", {"train/a.png": b"", "val/cat/a.png": b""})
    assert refusal(flat).endswith(
        "/*.jpg, *.jpeg, *.jpe, *.jfif, *.png, *.webp, *.bmp, only 1 in no class folder"
    )
    (root / "train" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert "gone.png: is named like a picture, but is no file" in refusal(root)
    (root / "train" / "cat" / "gone.png").unlink()
    (root / "train" / "cat" / "loop.png").symlink_to(root / "train" / "cat" / "loop.png")
    assert "cat/loop.png: cannot be read (Too many levels of symbolic links)" in refusal(root)


def test_without_pillow(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "pictures need Pillow: pip install 'dlcore[images]'" in refusal(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"resize": 0}, "resize=0"), ({"crop": 257}, "crop=257: give a whole number from 1 to 256")],
)
def test_impossible_sizes(root, options, message):
    with pytest.raises(ValueError, match=message):
        data.image_folder(root, **options)


# Resizing and cropping.


@pytest.mark.parametrize("height", [1, 40, 41, 63, 64, 100, 333])
@pytest.mark.parametrize("width", [2, 40, 57, 64, 200])
@pytest.mark.parametrize(("resize", "crop"), [(64, 56), (37, 37), (41, 24), (5, 1)])
def test_resize_and_crop_are_torchvisions(tmp_path, height, width, resize, crop):
    path = tmp_path / "x.png"
    image = Image.fromarray(noise(height, width))
    image.save(path)
    # Resize: the long side is int(size * long / short). CenterCrop: int(round((H − h) / 2.0)).
    if width <= height:
        new_width, new_height = resize, int(resize * height / width)
    else:
        new_width, new_height = int(resize * width / height), resize
    resized = np.asarray(image.resize((new_width, new_height), Image.Resampling.BILINEAR))
    top, left = round((new_height - crop) / 2.0), round((new_width - crop) / 2.0)
    expected = resized[top : top + crop, left : left + crop]
    np.testing.assert_array_equal(folders.read_picture(path, resize, crop), expected)


def test_resizing_does_not_alias(tmp_path):
    """Stripes one pixel wide become an even grey when the picture shrinks, not other stripes."""
    stripes = np.repeat(np.arange(400, dtype=np.uint8)[None, :, None] % 2 * 255, 400, 0)
    Image.fromarray(stripes.repeat(3, 2)).save(tmp_path / "x.png")
    small = folders.read_picture(tmp_path / "x.png", 50, 40).astype(float)
    np.testing.assert_allclose(small, 127.5, atol=3)


def test_real_pictures(shared_data):
    paths = sorted((shared_data / "images").glob("*.[jp][pn]g"))
    assert len(paths) > 10
    for path in paths:
        image = folders.read_picture(path, 256, 224)
        picture = Image.open(path)
        if picture.mode != "RGB":
            picture = picture.convert("RGBA" if "A" in picture.getbands() else "RGB").convert("RGB")
        scale = 256 / min(picture.size)
        size = [int(scale * length + 1e-9) for length in picture.size]
        middle = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
        rows, columns = (
            slice(round((n - 224) / 2), round((n - 224) / 2) + 224) for n in size[::-1]
        )
        np.testing.assert_array_equal(image, middle[rows, columns])


# Pictures of all kinds.


def read(tmp_path, content, size=8):
    (tmp_path / "x.png").write_bytes(content)
    return folders.read_picture(tmp_path / "x.png", size, size)


def test_kinds_of_pictures_become_rgb(tmp_path):
    rgb = Image.fromarray(noise(8, 8))
    grey, alpha = (Image.fromarray(noise(8, 8, 1, seed=seed)) for seed in (1, 2))
    palette = rgb.quantize(16)
    transparent = Image.merge("RGBA", (*rgb.split(), alpha))
    cmyk = rgb.convert("CMYK")
    for image, options, expected in (
        (rgb, {}, rgb),
        (grey, {}, grey),
        (Image.merge("LA", (grey, alpha)), {}, grey),
        (transparent, {}, rgb),
        (palette, {}, palette.convert("RGB")),
        (palette, {"transparency": 3}, palette.convert("RGB")),
        (palette, {"transparency": bytes(range(0, 160, 10))}, palette.convert("RGB")),
        (rgb, {"transparency": (1, 2, 3)}, rgb),
        (grey.point(lambda v: 255 * (v > 99), "1"), {}, grey.point(lambda v: 255 * (v > 99))),
    ):
        expected = np.asarray(expected.convert("RGB"))
        np.testing.assert_array_equal(read(tmp_path, encoded(image, **options)), expected)
    for image in (rgb, grey, cmyk):
        content = encoded(image, "JPEG", quality=95)
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        np.testing.assert_array_equal(read(tmp_path, content), expected)


def test_of_16_bits_the_upper_8_are_kept(tmp_path):
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1_024
    image = read(tmp_path, encoded(Image.fromarray(values)))
    np.testing.assert_array_equal(image, np.repeat((values >> 8)[..., None], 3, axis=2))


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_pictures_are_turned_upright(tmp_path, orientation, form):
    upright = np.kron(noise(3, 5), np.ones((8, 8, 1), np.uint8))
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: np.rot90(upright.swapaxes(0, 1), 2),
        8: np.rot90(upright, -1),
    }[orientation]
    content = encoded(Image.fromarray(np.ascontiguousarray(stored)), form, exif=turned(orientation))
    difference = np.abs(read(tmp_path, content, 24) - upright[:, 8:32].astype(int))
    assert np.median(difference) <= {"PNG": 0, "JPEG": 10}[form]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif", [b"", b"these are words", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x09words"]
)
def test_damaged_exif_does_no_harm(tmp_path, exif):
    image = Image.fromarray(noise(8, 8))
    content = encoded(image, exif=b"Exif\0\0" + exif)
    np.testing.assert_array_equal(read(tmp_path, content), np.asarray(image))


# Damaged and hostile pictures.


def header(width, height):
    """The beginning of a PNG that claims to be that large."""
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + content + struct.pack(">I", zlib.crc32(content))
    return b"\x89PNG\r\n\x1a\n" + chunk + encoded(Image.new("1", (8, 8)))[33:]


BAD = {
    "empty.png": b"\n",
    "words.jpg": b"these are words",
    "half.png": picture(40, 40)[:2_000],
    "half.jpg": picture(40, 40, form="JPEG")[:800],
    "turned.jpg": encoded(Image.fromarray(noise(40, 40)), "JPEG", exif=turned(6))[:800],
    "turned.png": encoded(Image.fromarray(noise(40, 40)), exif=turned(6))[:2_000],
    "gif.png": encoded(Image.new("L", (8, 8)), "GIF"),
    "large.png": header(9_000, 9_000),
    "huge.png": header(60_000, 60_000),
    "thin.png": encoded(Image.new("L", (1, 2_000))),
}


@pytest.mark.filterwarnings("default:Image size")
@pytest.mark.parametrize("chunk", [1, 5, 1_024])
def test_damaged_pictures_are_named_and_can_be_found_before(root, chunk, monkeypatch):
    monkeypatch.setattr(folders, "_CHUNK", chunk)
    fill(root, {f"train/dog/{name}": content for name, content in BAD.items()})
    fill(root, {"test/dog/2.png": b"words"})
    found = data.image_folder(root)
    lines = found.damaged()
    assert sorted(line.split(": ")[0] for line in lines) == sorted(
        [*(str(root / "train" / "dog" / name) for name in BAD), str(root / "test/dog/2.png")]
    )
    assert all("\n" not in line and "replace the file" in line for line in lines)
    problems = {line.split(": ")[0].split("/")[-1]: line for line in lines}
    assert "9000×9000 pixels are more than 67,108,864" in problems["large.png"]
    assert "256×512000 pixels are more than 67,108,864" in problems["thin.png"]
    assert "not a sound picture (Image size" in problems["huge.png"]
    assert "not a sound picture of JPEG, PNG, WEBP, BMP" in problems["gif.png"]


def test_a_damaged_picture_stops_the_batch_it_is_in(root):
    fill(root, {"train/dog/c.png": b"words"})
    train = data.image_folder(root).train
    batches = data.prefetch(train, [[0, 1], [2, 3], [4, 0]])
    next(batches)
    with pytest.raises(DataError, match=r"dog/c.png: not a sound picture of JPEG") as error:
        next(batches)
    assert "batch 1" in error.value.__notes__[0]


def test_every_byte_of_a_png_counts(tmp_path):
    """But those of its last chunk, which is empty. Decoded alone, some give other pixels."""
    image = np.kron(noise(3, 3), np.ones((4, 4, 1), np.uint8))
    good, others = encoded(Image.fromarray(image)), 0
    for position in range(len(good) - 12):
        content = bytearray(good)
        content[position] ^= 16
        with pytest.raises(DataError, match=r"x.png: not a sound picture .*replace the file"):
            read(tmp_path, bytes(content))
        with suppress(Exception):
            others += not np.array_equal(Image.open(io.BytesIO(content)), image)
    assert others > 5
    read(tmp_path, good)


@pytest.mark.parametrize("problem", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOENT])
def test_a_picture_that_cannot_be_read_is_not_called_damaged(root, problem, monkeypatch):
    found, real = data.image_folder(root), os.open
    path = str(root / "test" / "dog" / "1.png")

    def refuse(name, *arguments, **options):
        if str(name) == path:
            raise OSError(problem, os.strerror(problem), name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    [line] = found.damaged()
    assert line == (
        f"{path}: cannot be read ({os.strerror(problem)}); "
        "check the path, the disk and who may read it"
    )
    with pytest.raises(DataError, match=r"1.png: cannot be read"):
        found.test.gather(np.arange(1))


def test_what_is_no_plain_file_is_not_waited_for(root):
    found = data.image_folder(root)
    (root / "test" / "dog" / "1.png").unlink()
    os.mkfifo(root / "test" / "dog" / "1.png")
    assert "1.png: cannot be read (Not a plain file)" in found.damaged()[0]


def test_a_file_longer_than_any_picture_is_not_read(root, monkeypatch):
    monkeypatch.setattr(folders, "BYTES", 100)
    lines = data.image_folder(root).damaged()
    assert len(lines) == 7
    assert all("has more than the 100 bytes expected; replace the file" in line for line in lines)


def test_folders_that_cannot_be_read_are_not_missing(root, monkeypatch):
    real = os.stat

    def refuse(name, *arguments, **options):
        if str(name).endswith("val"):
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert "val: cannot be read (Permission denied)" in refusal(root)


def test_the_home_folder_and_impossible_ones(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    assert data.image_folder("~/animals").name == "animals"
    assert refusal("\0").startswith("'\\x00' is no path")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    assert refusal("~/animals").startswith("~/animals: nobody knows the home folder")


def test_a_good_set_has_none(root):
    assert data.image_folder(root).damaged() == []
