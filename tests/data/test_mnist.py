from __future__ import annotations

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from dlcore import data
from dlcore.data import DataError

IMAGES = "train-images-idx3-ubyte.gz"
LABELS = "train-labels-idx1-ubyte.gz"


def check_small(small, loaded, validation=5):
    train_x, train_y, test_x, test_y = small.arrays.values()
    cut = 40 - validation
    for split, x, y in (
        (loaded.train, train_x[:cut], train_y[:cut]),
        (loaded.validation, train_x[cut:], train_y[cut:]),
        (loaded.test, test_x, test_y),
    ):
        np.testing.assert_array_equal(split["x"][..., 0], x.astype(np.float32) / 255)
        np.testing.assert_array_equal(split["y"], y)


@pytest.mark.parametrize("inside", ["mnist", "data/mnist", "."])
def test_root_is_searched_in_three_places(small_mnist, tmp_path, inside):
    small_mnist.write(tmp_path / "root" / inside)
    check_small(small_mnist, data.load("mnist", tmp_path / "root", validation=5))


def test_root_goes_before_the_cache(small_mnist, tmp_path, cache):
    small_mnist.write(tmp_path / "root")
    small_mnist.write(cache / "mnist")
    (cache / "mnist" / IMAGES).write_bytes(b"damaged")
    check_small(small_mnist, data.load("mnist", str(tmp_path / "root"), validation=5))
    with pytest.raises(DataError, match="cache"):
        data.load("mnist", validation=5)


def test_two_sets_of_the_same_file_names_live_in_one_root(
    small_mnist, small_fashion_mnist, tmp_path
):
    small_mnist.write(tmp_path / "mnist")
    small_fashion_mnist.write(tmp_path / "fashion_mnist")
    check_small(small_mnist, data.load("mnist", tmp_path, validation=5))
    fashion = data.load("fashion_mnist", tmp_path, validation=5)
    check_small(small_fashion_mnist, fashion)
    assert fashion.classes[9] == "Ankle boot"
    with pytest.raises(DataError, match="the content is not fashion_mnist's train-images"):
        data.load("fashion_mnist", tmp_path / "mnist", validation=5)


def test_a_file_compressed_again_is_as_good(small_mnist, tmp_path):
    small_mnist.write(tmp_path)
    (tmp_path / IMAGES).write_bytes(gzip.compress(small_mnist.raw[IMAGES], 1, mtime=7))
    check_small(small_mnist, data.load("mnist", tmp_path, validation=5))


def refusal(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        data.load("mnist", tmp_path, validation=5)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{tmp_path / name}: ")
    assert "replace the file" in message
    return message


@pytest.mark.parametrize("name", [IMAGES, LABELS])
@pytest.mark.parametrize("part", range(16))
def test_truncated_files_are_refused(small_mnist, tmp_path, name, part):
    whole = small_mnist.write(tmp_path).joinpath(name).read_bytes()
    refusal(tmp_path, name, whole[: len(whole) * part // 16])


@pytest.mark.parametrize("name", [IMAGES, LABELS])
@pytest.mark.parametrize("part", range(16))
def test_truncated_contents_are_refused(small_mnist, tmp_path, name, part):
    small_mnist.write(tmp_path)
    raw = small_mnist.raw[name]
    refusal(tmp_path, name, gzip.compress(raw[: len(raw) * part // 16]))


def test_a_flipped_bit_is_refused_or_makes_no_difference(small_mnist, tmp_path):
    whole = small_mnist.write(tmp_path).joinpath(LABELS).read_bytes()
    harmless = 0
    for position in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        (tmp_path / LABELS).write_bytes(damaged)
        try:
            loaded = data.load("mnist", tmp_path, validation=5)
        except DataError:
            continue
        check_small(small_mnist, loaded)
        harmless += 1
    assert harmless < 8 * 10  # only the ten bytes of gzip's header can be


@pytest.mark.parametrize("position", [0, 3, 7, 16, 700, -1])
def test_a_flipped_bit_in_the_content_is_refused(small_mnist, tmp_path, position):
    small_mnist.write(tmp_path)
    raw = bytearray(small_mnist.raw[IMAGES])
    raw[position] ^= 1
    refusal(tmp_path, IMAGES, gzip.compress(raw))


def test_messages_say_what_is_wrong(small_mnist, tmp_path):
    small_mnist.write(tmp_path)
    raw = small_mnist.raw[IMAGES]
    shape = struct.pack(">III", 40, 5, 6)
    cases = {
        "not a sound gzip file": b"these are words, not a gzip file\n",
        "truncated": small_mnist.gz[IMAGES][:-9],
        "starts with the bytes 00 00 08 01, expected 00 00 08 03": gzip.compress(
            small_mnist.raw[LABELS]
        ),
        "starts with the bytes 00 00 0d 03": gzip.compress(b"\0\0\x0d\3" + raw[4:]),
        "an array of shape [40, 5, 6], expected [40, 6, 5]": gzip.compress(
            raw[:4] + shape + raw[16:]
        ),
        "holds 1,199 values, expected 1,200": gzip.compress(raw[:-1]),
        "more than the 1,216 bytes expected": gzip.compress(raw + b"\0"),
        "the content is not mnist's": gzip.compress(raw[:-1] + bytes([raw[-1] ^ 1])),
    }
    for expected, content in cases.items():
        assert expected in refusal(tmp_path, IMAGES, content)


def test_a_gzip_bomb_is_not_unpacked(small_mnist, tmp_path):
    small_mnist.write(tmp_path)
    bomb = gzip.compress(bytes(1 << 26), 9)
    tracemalloc.start()
    try:
        message = refusal(tmp_path, LABELS, bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "more than the 48 bytes expected" in message
    assert peak < 1 << 23


def test_a_missing_file_offline_is_one_clear_line(small_mnist, tmp_path, cache):
    small_mnist.write(tmp_path)
    (tmp_path / LABELS).unlink()
    with pytest.raises(DataError, match=f"^mnist: {LABELS} is neither in root nor in ") as error:
        data.load("mnist", tmp_path, validation=5)
    message = str(error.value)
    assert str(cache) in message
    assert "no connection" in message
    assert "\n" not in message


def test_real_mnist_is_canonical(shared_data):
    loaded = data.load("mnist", shared_data)
    parts = (loaded.train, loaded.validation, loaded.test)
    assert [part["x"].shape for part in parts] == [(n, 28, 28, 1) for n in (55_000, 5_000, 10_000)]
    assert loaded.train["y"][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    x = np.concatenate([loaded.train["x"], loaded.validation["x"]])
    y = np.concatenate([loaded.train["y"], loaded.validation["y"]])
    np.testing.assert_allclose(x.mean(dtype=np.float64), 0.1307, atol=5e-5)
    np.testing.assert_allclose(x.std(dtype=np.float64), 0.3081, atol=5e-5)
    for (images, labels), part in (((x, y), "train"), (loaded.test.values(), "t10k")):
        with gzip.open(shared_data / "mnist" / f"{part}-images-idx3-ubyte.gz") as file:
            assert file.read()[16:] == np.rint(images * 255).astype(np.uint8).tobytes()
        with gzip.open(shared_data / "mnist" / f"{part}-labels-idx1-ubyte.gz") as file:
            assert file.read()[8:] == labels.astype(np.uint8).tobytes()


@pytest.mark.parametrize("inside", ["..", "mnist"])
def test_real_mnist_is_found_from_other_roots(shared_data, inside):
    assert data.load("mnist", shared_data / inside, validation=7).validation["y"].shape == (7,)
