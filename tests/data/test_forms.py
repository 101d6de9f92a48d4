"""What somebody gives as data: taken as it is, turned into arrays, or refused in one line."""

from __future__ import annotations

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import data
from dlcore.data import DataError, HostData, forms

X = np.arange(6, dtype=np.float32).reshape(3, 2)
Y = np.array([0, 1, 0], np.int32)


class Table:
    """As pandas and polars have them: numpy reads it, and it has columns."""

    columns = ("a", "b")

    def __array__(self, dtype=None, copy=None):
        return X

    def to_numpy(self):
        return X


class Column:
    """A column of a table, or a tensor of another library."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values)


class Loader:
    """As torch's DataLoader."""

    dataset = ()

    def __iter__(self):
        return iter([(X, Y)])


class Source:
    """A HostSource that was not wrapped."""

    def __len__(self):
        return 3

    def gather(self, indices):
        return {"x": X[indices]}


class Unreadable:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("on another device\nof theirs")


class Sparse:
    def toarray(self):
        return X


# Untouched


@pytest.mark.parametrize(
    "dtype",
    [
        *("bool", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"),
        *("float16", "float32", "float64", "complex64", jnp.bfloat16, jnp.float8_e4m3fn),
    ],
)
def test_arrays_of_numpy_are_the_same_objects(dtype):
    array = np.ones((3, 2), dtype)
    assert forms.arrays({"x": array, "y": Y})["x"] is array


def test_arrays_of_jax_are_the_same_objects(tmp_path):
    given = {
        "x": jnp.asarray(X),
        "y": jnp.asarray(Y),
        "key": jax.random.split(jax.random.key(0), 3),
    }
    found = forms.arrays(given)
    assert all(found[name] is given[name] for name in given)
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(3, 2))
    assert forms.arrays({"x": mapped})["x"] is mapped


def test_what_is_traced_passes():
    assert jax.jit(lambda batch: forms.arrays(batch)["x"] * 2)({"x": X}).shape == (3, 2)


# Turned


@pytest.mark.parametrize("dtype", [">f4", ">i4", ">u2", ">f8", ">c8"])
def test_another_byte_order_is_turned(dtype):
    given = np.array([[1, 2], [3, 250]], dtype)
    found = forms.arrays({"x": given})["x"]
    assert found.dtype == given.dtype.newbyteorder("=")
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, given)


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ([[0.5, 1], [2, 3]], np.float32),
        (((0.5, 1), (2, 3)), np.float32),
        ([[1, 2], [3, 4]], np.int32),
        ([True, False], np.bool_),
        (range(4), np.int32),
        (np.array([[1, 2], [3, 4]], object), np.int32),
        (np.array([0.5, 1], object), np.float32),
        ([np.ones(2, np.float16), np.zeros(2, np.float16)], np.float16),
        ([np.ones(2, ">f4")] * 2, np.float32),
        ([jnp.ones(2), jnp.zeros(2)], np.float32),
        (Column([0.5, 1]), np.float64),
        (Column(np.array([1, 2], object)), np.int32),
        (Table(), np.float32),
        (np.ma.masked_array([1.0, 2.0]), np.float64),
        (X.view(np.recarray), np.float32),
    ],
)
def test_numbers_in_another_form_become_arrays(given, dtype):
    found = forms.arrays({"x": given})["x"]
    assert type(found) is np.ndarray
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.asarray(given).astype(dtype))


def test_lists_have_the_types_that_jax_gives_them():
    for given in ([0.5], [1], [True], [[1, 2.5]]):
        assert forms.arrays({"x": given})["x"].dtype == jnp.asarray(given).dtype


@pytest.mark.parametrize("mapping", [collections.OrderedDict, collections.UserDict])
def test_every_mapping_is_a_dict(mapping):
    found = forms.arrays(mapping(x=X, y=Y))
    assert type(found) is dict
    assert list(found) == ["x", "y"]


def test_columns_of_pandas_and_tensors_of_torch(torch):
    found = forms.arrays({"x": torch.ones(3, 2), "y": torch.arange(3)})
    assert {name: array.dtype.name for name, array in found.items()} == {
        "x": "float32",
        "y": "int64",
    }
    with pytest.raises(DataError, match=r"data\['x'\] is a Parameter that makes no array .*detach"):
        forms.arrays({"x": torch.nn.Linear(2, 3).weight})
    with pytest.raises(TypeError, match=r"data is one array, torch.float32\[3\], but a dict"):
        forms.arrays(torch.ones(3))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(3)))
    with pytest.raises(TypeError, match="data is of type DataLoader, which gives them bit by bit"):
        forms.arrays(loader)


# Refused


def refused(given, kind, name="data"):
    with pytest.raises(kind) as caught:
        forms.arrays(given, name)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(name)
    assert len(message) < 500
    return message


RAGGED = np.empty(2, object)
RAGGED[:] = [[1, 2], [3]]
DATES = np.array(["2020-01-01"] * 3, "M8[D]")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.array(["cat", "dog"]),
            "holds text, but numbers are wanted: give names, numbers = np.u",
        ),
        (["cat", "dog"], "holds text"),
        (np.array([b"cat", b"dog"]), "holds text"),
        (np.array(["cat", "dog"], object), "holds text"),
        (np.array(["cat", "dog"], np.dtypes.StringDType()), "holds text"),
        (Column(["cat", "dog"]), "holds text"),
        ([1, "dog"], "holds text"),
        (np.array([1, None]), "holds objects (int, NoneType), but numbers are wanted: give one"),
        ([{}, {}], "holds objects (dict)"),
        ([2**70], "holds objects (int)"),
        (DATES, "holds dates, but numbers are wanted: give numbers, (dates - dates[0]) / "),
        (DATES - DATES[0], "holds durations"),
        (np.zeros(3, [("a", "f4"), ("b", "i4")]), "holds records"),
        (np.zeros(3, np.longdouble), "is float128, which jax has not: give array.astype(np.float"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "has masked values: give array.filled(0)"),
        ([[1, 2], [3]], "is a list that makes no array (rows of different lengths): pad them"),
        (RAGGED, "is a list that makes no array (rows of different lengths): pad them"),
        (Unreadable(), "is a Unreadable that makes no array (RuntimeError: on another device of"),
        (Sparse(), "is a Sparse, but an array is wanted: value.toarray()"),
        ({1, 2}, "is a set, but an array is wanted: a numpy array"),
        (None, "is a NoneType, but an array is wanted"),
        (iter([1, 2]), "is a list_iterator, but an array is wanted"),
        ({"x": X}, "is a dict itself: give that one, or arrays beside each other"),
        (np.array([0, 2**31]), "holds 2147483648, too much for jax's integers of 32 bits: give"),
        (np.array([0, -(2**31) - 1]), "holds -2147483649, too much for jax"),
        (np.array([2**32], np.uint64), "holds 4294967296, too much for jax"),
        ([2**40], "holds 1099511627776, too much for jax"),
    ],
)
def test_arrays_that_hold_no_numbers_are_refused_by_name(array, message):
    assert refused({"y": array}, DataError).startswith(f"data['y'] {message}")


def test_wide_integers_pass_where_jax_has_them(x64):
    wide = np.array([2**40])
    assert forms.arrays({"x": wide})["x"] is wide
    assert forms.arrays({"x": [2**40]})["x"].dtype == np.int64


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, ' is empty: give {"x": inputs, "y": targets}'),
        ({"x": X, "y": 1}, ": every array needs a leading axis of examples, 'y' is a scalar"),
        ({"x": X, "y": np.int32(1)}, ": every array needs a leading axis of examples, 'y' is"),
        ({"x": X, "y": jnp.asarray(1)}, ": every array needs a leading axis of examples, 'y' is"),
        ({"x": X, "y": Y[:2]}, ": the arrays need one and the same leading length, got {'x': 3, '"),
        ({"x": X[:0]}, ": there are no examples"),
    ],
)
def test_arrays_that_do_not_belong_together(arrays, message):
    assert refused(arrays, DataError, "validation").startswith(f"validation{message}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (data.load("xor", n=8), "is of type Dataset, with all its splits, but a dict of arrays is"),
        ((X, Y), 'is a pair, but a dict of arrays is wanted: give {"x": pair[0], "y": pair[1]}'),
        ([X, Y], "is a pair"),
        ((X, Y, Y), "is of type tuple, but"),
        ([{"x": 1}] * 5, 'is of type list, but a dict of arrays is wanted: give {"x": np.stack('),
        (X, 'is one array, float32[3, 2], but a dict of arrays is wanted: give {"x": array, "y": '),
        (jnp.asarray(X), "is one array, float32[3, 2]"),
        (
            Table(),
            'is of type Table, a table, but a dict of arrays is wanted: give {"x": table[nam',
        ),
        (
            Loader(),
            "is of type Loader, which gives them bit by bit, but a dict of arrays is wanted",
        ),
        (((X, Y) for _ in range(2)), "is of type generator, which gives them bit by bit"),
        (
            Source(),
            "is of type Source, which gathers batches itself, but a dict of arrays is wanted",
        ),
        ("mnist", 'is of type str, but a dict of arrays is wanted: give {"x": inputs, "y": target'),
        (None, "is of type NoneType"),
        (len, "is a function, but a dict of arrays is wanted: if it gives the batches of an"),
        ({0: X}, 'has the key 0, but text is wanted: "x", "y"'),
        ({"a\n" * 500: ["cat"]}, "['a"),
    ],
)
def test_what_is_no_dict_of_arrays_is_told_how_to_be_one(given, message):
    kind = DataError if message.startswith("[") else TypeError
    text = refused(given, kind)
    assert text.startswith(f"data {message}" if kind is TypeError else f"data{message}")


def test_the_corrected_calls_are_right():
    """What the messages say to give, given."""
    pair, table, text = (X, Y), Table(), np.array(["dog", "cat", "dog"])
    forms.arrays({"x": pair[0], "y": pair[1]})
    forms.arrays({"x": table.to_numpy(), "y": Y})
    names, numbers = np.unique(text, return_inverse=True)
    assert forms.arrays({"y": numbers})["y"].tolist() == [1, 0, 1]
    assert names.tolist() == ["cat", "dog"]
    forms.arrays({"x": (DATES - DATES[0]) / np.timedelta64(1, "D")})
    forms.arrays({"x": np.ma.masked_array([1.0, 2.0], [True, False]).filled(0)})
    forms.arrays(data.load("xor", n=8).train)
    assert len(data.HostData(Source())) == 3


# Where data comes in


def test_a_dataset_takes_what_is_harmless():
    split = {"x": X.astype(">f4"), "y": [0, 1, 0]}
    made = data.Dataset("set", split, {"x": X.tolist(), "y": Y}, {"x": X, "y": Y}, ("a", "b"), "")
    for arrays in (made.train, made.validation, made.test):
        assert [array.dtype for array in arrays.values()] == [np.float32, np.int32]
        np.testing.assert_array_equal(arrays["x"], X)
    assert made.test["x"] is X


def test_a_dataset_names_the_split_and_the_array():
    good = {"x": X, "y": Y}
    with pytest.raises(DataError, match=r"^set/test\['y'\] holds text"):
        data.Dataset("set", good, good, {"x": X, "y": ["a", "b", "a"]}, ("a", "b"), "")
    with pytest.raises(TypeError, match=r"^set/train is a pair"):
        data.Dataset("set", (X, Y), good, good, ("a", "b"), "")


def test_host_data_takes_what_is_harmless(tmp_path):
    mapped = np.memmap(tmp_path / "x", ">f4", "w+", shape=(3, 2))
    mapped[:] = X
    host = HostData({"x": mapped, "y": [0, 1, 0], "z": Column([1.5, 2, 3])})
    assert host.source["x"] is mapped  # a file on the disk is not read before a batch is wanted
    batch = host.gather(np.array([2, 0]))
    assert [array.dtype for array in batch.values()] == [np.float32, np.int32, np.float64]
    np.testing.assert_array_equal(batch["x"], X[[2, 0]])
    assert len(HostData(Source()).gather(np.arange(0))["x"]) == 0


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ({"x": ["cat", "dog"]}, DataError, r"HostData\['x'\] holds text"),
        ({"x": np.array(["cat", "dog"])}, DataError, r"HostData\['x'\] holds text"),
        ((X, Y), TypeError, "HostData's source is a pair, but a dict of arrays is wanted"),
        (iter([X]), TypeError, "HostData's source is of type list_iterator, which gives them bit"),
        (data.load("xor", n=8), TypeError, "HostData's source is of type Dataset"),
    ],
)
def test_host_data_refuses_the_rest(source, kind, message):
    with pytest.raises(kind, match=message):
        HostData(source)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: data.nonfinite({"x": x}),
        data.duplicates,
        data.mean_and_std,
        data.fit_centering,
        data.fit_decorrelation,
        data.fit_pca,
        data.fit_zca,
    ],
)
def test_functions_of_examples_take_lists_and_refuse_text(function):
    rows = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    for given in (rows.tolist(), rows.astype(">f4"), rows.astype(object)):
        jax.tree.map(np.testing.assert_array_equal, function(given), function(rows))
    function(2**40 * np.arange(10).reshape(5, 2))  # what stays with numpy may be wide
    with pytest.raises(DataError, match="holds text"):
        function([["a", "b"], ["c", "d"]])


@pytest.mark.parametrize(
    "function",
    [
        lambda images: data.resize(images, 2),
        data.rgb,
        lambda images: data.canvas(images, 5),
        lambda images: data.shift(images, 1, 0),
    ],
)
def test_functions_of_images_take_lists_and_refuse_text(function):
    images = np.random.default_rng(0).random((2, 3, 3, 1), np.float32)
    for given in (images.tolist(), images.astype(">f4")):
        np.testing.assert_array_equal(function(given), function(images))
    with pytest.raises(DataError, match="images holds text"):
        function([[[["a"]]]])
