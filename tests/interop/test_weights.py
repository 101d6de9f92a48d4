"""Weights files: exact round trips, other libraries' files, and every way a file can lie."""

from __future__ import annotations

import collections
import io
import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import dlcore
from dlcore.interop import weights
from dlcore.interop.weights import WeightsError
from tests.budget import examples

GOLDEN = Path(__file__).parent / "golden"


class Pair(NamedTuple):
    first: object
    second: object


def bits(leaf):
    """All that two equal leaves share."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(leaf.dtype), leaf.shape, np.asarray(jax.random.key_data(leaf)).tobytes()
    return str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()


def assert_same(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    assert [*map(bits, jax.tree.leaves(actual))] == [*map(bits, jax.tree.leaves(expected))]


# Round trips

NARROW = ["bool", "uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32"]
WIDE = ["uint64", "int64", "float64", "complex64"]


def numpy_arrays(dtypes):
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    return st.sampled_from(dtypes).flatmap(lambda dtype: hnp.arrays(dtype, shapes))


half = numpy_arrays(["uint16"]).map(lambda array: array.view(jnp.bfloat16))
numpy_leaves = numpy_arrays(NARROW + WIDE) | half
jax_leaves = (numpy_arrays(NARROW) | half).map(jnp.asarray) | st.integers(0, 9).map(jax.random.key)
names = st.text(st.characters(codec="utf-8", exclude_characters="/"), max_size=4)


def containers(children):
    return (
        st.lists(children, max_size=3)
        | st.lists(children, max_size=3).map(tuple)
        | st.dictionaries(names, children, max_size=3)
        | st.dictionaries(st.integers(-3, 20), children, max_size=3)
        | st.builds(Pair, children, children)
    )


trees = st.recursive(st.none() | numpy_leaves | jax_leaves, containers, max_leaves=8)


@examples(60)
@given(trees)
def test_any_tree_comes_back_in_its_structure(tree):
    data = weights.dumps(tree)
    restored, metadata = weights.loads(data, tree)
    assert_same(restored, tree)
    assert metadata == {}
    kinds = [isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(tree)]
    assert [isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored)] == kinds
    assert weights.dumps(restored) == data


@pytest.mark.parametrize("dtype", weights._DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (2, 0, 3)])
def test_every_dtype_by_a_file(tmp_path, dtype, shape):
    tree = {"leaf": np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)}
    weights.save(tmp_path / "w.safetensors", tree)
    assert_same(weights.load(tmp_path / "w.safetensors")[0], tree)
    assert_same(weights.load(tmp_path / "w.safetensors", tree)[0], tree)


def test_without_like_the_tree_is_nested_dictionaries_of_writable_arrays():
    tree = {"conv1": Pair(np.ones(2), [np.zeros(3), {"": np.zeros(1)}]), 3: None}
    tree = {str(name): child for name, child in tree.items()}
    restored, _ = weights.loads(weights.dumps(tree))
    expected = {
        "conv1": {"first": np.ones(2), "second": {"0": np.zeros(3), "1": {"": np.zeros(1)}}}
    }
    assert_same(restored, expected)
    restored["conv1"]["first"] += 1
    assert_same(weights.loads(weights.dumps(np.ones(2)))[0], np.ones(2))
    assert weights.loads(weights.dumps({"a": None}))[0] == {}


def test_shapes_alone_are_enough_to_restore_into():
    def init(key):
        return {"kernel": jax.random.normal(key, (3, 2)), "key": key, "n": jnp.int32(3)}

    params = jax.jit(init)(jax.random.key(1))
    restored, _ = weights.loads(weights.dumps(params), jax.eval_shape(init, jax.random.key(0)))
    assert_same(restored, params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_typed_keys_draw_the_same_numbers(impl):
    keys = jax.random.split(jax.random.key(3, impl=impl), 4)
    restored, _ = weights.loads(weights.dumps({"keys": keys}))
    assert_same(restored["keys"], keys)
    draw = jax.vmap(jax.random.uniform)
    np.testing.assert_array_equal(draw(restored["keys"]), draw(keys))


def test_restored_arrays_may_be_donated():
    tree = {"a": jnp.arange(1000.0), "b": np.arange(4.0, dtype=np.float32)}
    data = weights.dumps(tree)
    restored, _ = weights.loads(data, tree)
    jax.jit(lambda x: x + 1, donate_argnums=0)(restored["a"])
    assert restored["a"].is_deleted()
    assert_same(weights.loads(data, tree)[0], tree)


def test_metadata_comes_back_equal():
    metadata = {
        "classes": ["é", "\U0001f600", '"\\'],
        "mean": 0.1,
        "none": None,
        "a": {"sha256": "0" * 64},
    }
    assert weights.loads(weights.dumps({"x": np.zeros(1)}, metadata))[1] == metadata


def test_the_same_tree_gives_the_same_bytes_in_every_process():
    code = """
import numpy as np
from dlcore.interop import weights
print(weights.dumps({"b": np.ones(2), "a": {"c": np.zeros(3, bool)}}, {"x": 1, "y": 2}).hex())
"""
    tree = {"b": np.ones(2), "a": {"c": np.zeros(3, bool)}}
    assert python(code, PYTHONHASHSEED="1") == weights.dumps(tree, {"x": 1, "y": 2}).hex()


def python(code, **environment):
    environment = {**os.environ, "PYTHONPATH": str(Path(dlcore.__file__).parents[1]), **environment}
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_saved_on_eight_devices_loaded_on_one_and_back():
    code = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from dlcore.interop import weights
value = np.arange(32, dtype=np.float32).reshape(8, 4)
spread = NamedSharding(Mesh(jax.devices(), "d"), PartitionSpec("d"))
one = SingleDeviceSharding(jax.devices()[3])
tree = {"w": jax.device_put(value, spread)}
for like in (
    {"w": jax.device_put(np.zeros_like(value), one)},
    {"w": jax.device_put(np.zeros_like(value), spread)},
    {"w": jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=spread)},
):
    tree, _ = weights.loads(weights.dumps(tree), like)
    assert tree["w"].sharding == like["w"].sharding, tree["w"].sharding
    np.testing.assert_array_equal(tree["w"], value)
free, _ = weights.loads(weights.dumps(tree), {"w": jax.numpy.zeros((8, 4))})
assert not free["w"].committed
"""
    python(code, XLA_FLAGS="--xla_force_host_platform_device_count=8", JAX_PLATFORMS="cpu")


# Other libraries


def test_the_safetensors_library_reads_ours(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(path, {"a": {"b": np.arange(3.0)}, "c": np.array(True)}, {"x": 1})
    stored = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal(stored["a/b"], [0, 1, 2])
    np.testing.assert_array_equal(stored["c"], True)
    with safetensors.safe_open(path, "numpy") as file:
        entry = json.loads(file.metadata()["dlcore"])
    assert entry["metadata"] == {"x": 1}


def test_we_read_the_safetensors_library():
    arrays = {"layer.0.weight": np.arange(6.0).reshape(2, 3), "layer.0.bias": np.ones(2, np.int8)}
    restored, metadata = weights.loads(safetensors.numpy.save(arrays, {"format": "pt"}))
    assert_same(restored, arrays)
    assert metadata == {"format": "pt"}
    assert weights.loads(safetensors.numpy.save(arrays))[1] == {}


def test_we_read_torch(torch):
    from safetensors.torch import save

    module = torch.nn.Linear(3, 2, dtype=torch.bfloat16)
    restored, _ = weights.loads(save(module.state_dict()))
    for name, tensor in module.state_dict().items():
        np.testing.assert_array_equal(restored[name].astype(np.float32), tensor.float().numpy())


def test_names_that_are_leaf_and_folder_need_like():
    tree = {"a": np.zeros(1), "a/b": np.ones(1)}
    data = safetensors.numpy.save(tree)
    with pytest.raises(WeightsError, match=r"both a leaf and a folder: a; load with like="):
        weights.loads(data)
    assert_same(weights.loads(data, tree)[0], tree)


# Refused when writing


@pytest.mark.parametrize(
    "tree",
    [
        collections.OrderedDict([(0, np.zeros(1)), ("0", np.ones(1))]),
        {"a": {"b": np.zeros(1)}, "a/b": np.ones(1)},
    ],
)
def test_leaves_with_one_path_are_refused(tree):
    path = "a/b" if "a" in tree else "0"
    with pytest.raises(WeightsError, match=f"share a path, rename their keys: {path}$"):
        weights.dumps(tree)


@pytest.mark.parametrize("leaf", [1, 1.5, True, "text", len, {1, 2}])
def test_a_leaf_that_is_no_array_is_refused_by_name(leaf):
    with pytest.raises(TypeError, match=r"^a/0: expected an array, got "):
        weights.dumps({"a": [leaf]})


def endless(make):
    tree = make()
    within = {"a": np.zeros(1), "b": (tree, tree)}
    tree.update(within) if isinstance(tree, dict) else tree.append(within)
    return tree


def nested(depth):
    tree = np.zeros(1)
    for _ in range(depth):
        tree = [tree]
    return tree


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (endless(dict), "the tree contains itself; make one of arrays alone"),
        (endless(list), "the tree contains itself"),
        (nested(101), "the tree is more than 100 levels deep"),
        (nested(100_000), "the tree is more than 100 levels deep"),
    ],
)
def test_trees_that_have_no_end_are_refused(tree, message):
    with pytest.raises(WeightsError, match=message):
        weights.dumps(tree)
    with pytest.raises(WeightsError, match=message):
        weights.loads(weights.dumps(SMALL), tree)


def test_a_tree_may_be_deep_and_hold_a_part_twice():
    part = {"a": np.ones(1)}
    assert_same(weights.loads(weights.dumps([part, part]), [part, part])[0], [part, part])
    assert_same(weights.loads(weights.dumps(nested(100)), nested(100))[0], nested(100))


def test_leaves_without_numbers_are_refused_by_name():
    message = r"^a/0: float32\[2\] without numbers; give arrays, outside of jit$"
    with pytest.raises(WeightsError, match=message):
        weights.dumps({"a": [jax.ShapeDtypeStruct((2,), jnp.float32)]})
    with pytest.raises(WeightsError, match=message):
        jax.eval_shape(lambda leaf: weights.dumps({"a": [leaf]}), np.zeros(2, np.float32))


@pytest.mark.parametrize("dtype", ["complex128", ">f4", "U3", "O", "M8[s]", jnp.int4])
def test_a_dtype_without_a_place_in_the_format_is_refused_by_name(dtype):
    with pytest.raises(WeightsError, match=r"^a/0: .* cannot be stored"):
        weights.dumps({"a": [np.zeros(2, dtype)]})


def test_names_the_format_cannot_hold_are_refused():
    with pytest.raises(WeightsError, match="__metadata__: safetensors keeps this name"):
        weights.dumps({"__metadata__": np.zeros(1)})
    with pytest.raises(WeightsError, match=r"cannot be stored: .*surrogates"):
        weights.dumps({"\ud800": np.zeros(1)})


@pytest.mark.parametrize(
    "value", [(1, 2), {1: 2}, np.float32(1), float("nan"), float("inf"), b"x", print]
)
def test_metadata_that_json_would_change_is_refused(value):
    with pytest.raises(
        WeightsError, match=r"the metadata (changes when|cannot be) written as JSON"
    ):
        weights.dumps({}, {"value": value})


def test_metadata_in_a_circle_is_refused():
    circle = {}
    circle["self"] = circle
    with pytest.raises(WeightsError, match="the metadata cannot be written as JSON"):
        weights.dumps({}, circle)


# Refused when the tree asked for is another


def test_every_leaf_that_does_not_fit_is_named():
    saved = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(2, np.float32), "old": np.zeros(1)}
    like = {"a": np.zeros((3, 2), np.float32), "b": np.zeros(2, jnp.bfloat16), "new": np.zeros(())}
    with pytest.raises(WeightsError) as caught:
        weights.loads(weights.dumps(saved), like)
    assert str(caught.value) == (
        "4 leaves do not fit the tree asked for: "
        "a: wanted float32[3, 2], the file has float32[2, 3]; "
        "b: wanted bfloat16[2], the file has float32[2]; "
        "new: wanted float64[], the file has no such leaf; "
        "old: not wanted, the file has float64[1]; "
        "build it as it was when it was saved"
    )


def test_a_long_list_of_problems_is_cut():
    with pytest.raises(
        WeightsError, match=r"^30 leaves .*: 0: .*; 1: .*; 10: .*; and 22 more; build it"
    ) as caught:
        weights.loads(weights.dumps([np.zeros(1)] * 30), ())
    assert len(str(caught.value)) < 800


def test_a_key_is_not_its_data():
    key = jax.random.key(0)
    with pytest.raises(WeightsError, match=r"k: wanted uint32\[2\], the file has key<fry>\[\]"):
        weights.loads(weights.dumps({"k": key}), {"k": np.zeros(2, np.uint32)})
    with pytest.raises(WeightsError, match=r"k: wanted key<fry>\[\], the file has uint32\[2\]"):
        weights.loads(weights.dumps({"k": np.zeros(2, np.uint32)}), {"k": key})
    with pytest.raises(WeightsError, match=r"wanted key<rbg>\[\], the file has key<fry>\[\]"):
        weights.loads(weights.dumps({"k": key}), {"k": jax.random.key(0, impl="rbg")})


def test_wide_types_are_not_narrowed_to_fit_jax():
    data = weights.dumps({"a": np.zeros(3)})
    with pytest.raises(WeightsError, match=r'a: float64 needs jax.config.update\("jax_enable_x64"'):
        weights.loads(data, {"a": jax.ShapeDtypeStruct((3,), np.float64)})
    with jax.enable_x64(True):
        restored, _ = weights.loads(data, {"a": jnp.zeros(3, jnp.float64)})
    assert restored["a"].dtype == np.float64


# Damage

SMALL = {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "k": np.array([True])}


def test_every_flipped_bit_is_refused():
    data = weights.dumps(SMALL, {"classes": ["a", "b"]})
    weights.loads(data)
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(WeightsError):
                weights.loads(bytes(damaged))


def test_every_truncation_and_every_addition_is_refused(tmp_path):
    data = weights.dumps(SMALL)
    path = tmp_path / "w.safetensors"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError, match=r"w.safetensors: .*fetch or save it again"):
            weights.load(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(WeightsError, match="do not end with the file"):
        weights.load(path)


def crafted(header, payload=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + payload


def entry(dtype="F32", shape=(1,), offsets=(0, 4), **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


LIES = {
    "length 2^63": crafted(b"{}", length=2**63),
    "length over the file": crafted(b"{}", length=3),
    "length over 100 MB": crafted(b"{" + b" " * 100_000_000 + b"}"),
    "not JSON": crafted(b"{'a': 1}"),
    "not UTF-8": crafted(b'{"\xff": 1}'),
    "UTF-16": crafted("{}".encode("utf-16")),
    "not an object": crafted([]),
    "a number": crafted(b"1"),
    "deep": crafted(b"[" * 200_000 + b"]" * 200_000),
    "long number": crafted(b'{"a": ' + b"9" * 10_000 + b"}"),
    "name twice": crafted(b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2), bytes(4)),
    "field twice": crafted(
        b'{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', bytes(4)
    ),
    "entry is a list": crafted({"a": []}),
    "no dtype": crafted({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "unknown dtype": crafted({"a": entry("F31")}, bytes(4)),
    "dtype is a list": crafted({"a": entry([])}, bytes(4)),
    "negative shape": crafted({"a": entry(shape=[-1])}, bytes(4)),
    "negative shapes": crafted({"a": entry(shape=[-1, -1])}, bytes(4)),
    "fractional shape": crafted({"a": entry(shape=[1.0])}, bytes(4)),
    "boolean shape": crafted({"a": entry(shape=[True])}, bytes(4)),
    "text as shape": crafted({"a": entry(shape="1")}, bytes(4)),
    "shape overflows": crafted({"a": entry(shape=[2**62, 4])}, bytes(4)),
    "many dimensions": crafted({"a": entry(shape=[1] * 65)}, bytes(4)),
    "wrong size": crafted({"a": entry(shape=[2])}, bytes(4)),
    "negative offset": crafted({"a": entry(offsets=[-4, 0])}, bytes(4)),
    "reversed offsets": crafted({"a": entry(offsets=[4, 0])}, bytes(4)),
    "fractional offset": crafted({"a": entry(offsets=[0, 4.0])}, bytes(4)),
    "three offsets": crafted({"a": entry(offsets=[0, 4, 4])}, bytes(4)),
    "beyond the file": crafted({"a": entry(offsets=[4, 8])}, bytes(4)),
    "overlap": crafted({"a": entry(), "b": entry()}, bytes(4)),
    "partial overlap": crafted(
        {"a": entry(shape=[2], offsets=[0, 8]), "b": entry(offsets=[4, 8])}, bytes(8)
    ),
    "gap": crafted({"a": entry(), "b": entry(offsets=[8, 12])}, bytes(12)),
    "gap at the start": crafted({"a": entry(offsets=[4, 8])}, bytes(8)),
    "bytes left over": crafted({"a": entry()}, bytes(5)),
    "metadata of numbers": crafted({"__metadata__": {"a": 1}}),
    "metadata is a list": crafted({"__metadata__": []}),
    "empty": b"",
    "seven bytes": bytes(7),
    "text": b"not a safetensors file at all",
    "zip": b"PK\x03\x04" + bytes(60),
    "pickle": b"\x80\x04\x95" + bytes(60),
}


LATER_LIES = {
    "shape overflows to zero": crafted({"a": entry(shape=[0, 2**62], offsets=[0, 0])}),
    "our entry is no JSON": crafted({"__metadata__": {"dlcore": "{"}}),
    "our entry is empty": crafted({"__metadata__": {"dlcore": "{}"}}),
    "our entry renamed": crafted({"__metadata__": {"dlcare": json.dumps({"sha256": "0" * 64})}}),
}


@pytest.mark.parametrize("lie", [*LIES, *LATER_LIES])
def test_a_lying_file_is_refused_in_one_line(tmp_path, lie):
    path = tmp_path / "w.safetensors"
    path.write_bytes((LIES | LATER_LIES)[lie])
    with pytest.raises(WeightsError) as caught:
        weights.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < 600


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header_is_refused_before_the_payload_is_read(lie):
    with pytest.raises(WeightsError):
        weights._header(io.BytesIO(LIES[lie]), len(LIES[lie]))


def test_the_crafted_files_differ_from_a_good_one_by_their_lie_alone():
    restored, _ = weights.loads(crafted({"a": entry(), "b": entry(offsets=[4, 8])}, bytes(8)))
    assert_same(restored, {"a": np.zeros(1, np.float32), "b": np.zeros(1, np.float32)})


def sealed(**changes):
    """A file of ours with another entry, under a right digest."""
    data = weights.dumps({"a": np.zeros(2, np.uint32)})
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    ours = json.loads(header["__metadata__"]["dlcore"]) | {"sha256": "0" * 64} | changes
    header["__metadata__"]["dlcore"] = json.dumps(ours)
    blank = crafted(json.dumps(header, separators=(",", ":")).encode(), data[8 + length :])
    return blank[: weights._DIGEST.start] + weights._digest(blank) + blank[weights._DIGEST.stop :]


def test_a_later_format_is_refused_as_such():
    assert_same(weights.loads(sealed())[0], {"a": np.zeros(2, np.uint32)})
    with pytest.raises(WeightsError, match="written in format 2, this dlcore reads 1; upgrade it"):
        weights.loads(sealed(format=2))


@pytest.mark.parametrize("keys", [{"b": "rbg"}, {"a": "nope"}, {"a": 3}, {"a": "rbg"}, ["a"], None])
def test_impossible_keys_are_refused(keys):
    with pytest.raises(WeightsError, match="no valid content"):
        weights.loads(sealed(keys=keys))


# Files


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(WeightsError, match=r"none.safetensors: cannot be read \(No such file"):
        weights.load(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match=r"cannot be read \(Is a directory\)"):
        weights.load(tmp_path)


def test_what_is_no_plain_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match=r"pipe: cannot be read \(Not a plain file\)"):
        weights.load(tmp_path / "pipe")
    with pytest.raises(WeightsError, match=r"zero: cannot be read \(Not a plain file\)"):
        weights.load("/dev/zero")


def test_the_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    weights.save("~/w.safetensors", SMALL)
    assert os.listdir(tmp_path) == ["w.safetensors"]
    assert_same(weights.load("~/w.safetensors")[0], SMALL)


@pytest.mark.parametrize("name", ["w\0", "\ud800"])
def test_a_name_that_no_file_can_have_is_one_line(name):
    for function in (weights.load, lambda path: weights.save(path, SMALL)):
        with pytest.raises(WeightsError, match="is no path: it has a character") as caught:
            function(name)
        assert str(caught.value).isprintable()


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    weights.save(path, SMALL)
    header = weights._header

    def grown(file, size):
        with path.open("ab") as more:
            more.write(bytes(10**6))
        monkeypatch.undo()
        return header(file, size)

    monkeypatch.setattr(weights, "_header", grown)
    with pytest.raises(WeightsError, match="do not end with the file"):
        weights.load(path)


def test_what_does_not_fit_into_memory_is_one_line(tmp_path):
    """A file with a hole: it claims a terabyte, and has it, but on no disk."""
    path = tmp_path / "w.safetensors"
    shape = [2**38]
    path.write_bytes(crafted({"a": entry(shape=shape, offsets=[0, 2**40])}))
    try:
        os.truncate(path, path.stat().st_size + 2**40)
    except OSError:
        pytest.skip("skipped, because the file system has no files with holes")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if limits[1] == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_AS, (2**39, limits[1]))
    try:
        with pytest.raises(WeightsError, match=r"cannot be read \(it does not fit into memory\)"):
            weights.load(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@contextmanager
def full_disk(limit):
    """Files cannot grow beyond a limit, as on a disk with no more room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failed_save_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    weights.save(path, SMALL)
    with full_disk(10_000), pytest.raises(WeightsError, match="cannot be written"):
        weights.save(path, {"big": np.zeros(100_000)})
    assert_same(weights.load(path)[0], SMALL)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        weights.save(path, {"other": np.zeros(1)})
    assert os.listdir(tmp_path) == ["w.safetensors"]
    assert_same(weights.load(path)[0], SMALL)
    with pytest.raises(WeightsError, match=r"none/w: cannot be written \(No such file"):
        weights.save(tmp_path / "none" / "w", SMALL)


def test_the_golden_file_of_format_1_loads():
    """Made by weights.save(path, golden_tree(), {"model": "lenet5", "classes": ["0", "1"]})."""
    restored, metadata = weights.load(GOLDEN / "format-1.safetensors", golden_tree())
    assert_same(restored, golden_tree())
    assert metadata == {"model": "lenet5", "classes": ["0", "1"]}


def golden_tree():
    return {
        "conv1": {"kernel": jnp.arange(6, dtype=jnp.float32).reshape(1, 2, 3), "bias": jnp.ones(3)},
        "half": (jnp.array(1.5, jnp.bfloat16), np.array([True, False])),
        "empty": np.zeros((0, 2), np.int64),
        "key": jax.random.key(7),
    }
