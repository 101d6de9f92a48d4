"""Animals with Attributes: the table as it is, and the ten classes of Lampert et al."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from dlcore import data
from dlcore.data import DataError

animals = importlib.import_module("dlcore.data.animals")


def test_the_real_table(shared_data):
    found = data.animals_with_attributes(shared_data)
    assert found.signatures.shape == (50, 85) == (len(found.classes), len(found.attributes))
    assert set(np.unique(found.signatures)) == {0, 1}
    assert len(np.unique(found.signatures, axis=0)) == 50
    assert {name for name, held in zip(found.classes, found.unseen, strict=True) if held} == set(
        animals.UNSEEN
    )
    assert found.unseen.sum() == 10
    row = dict(zip(found.attributes, found.signatures[found.classes.index("zebra")], strict=True))
    assert row["stripes"] == row["hooves"] == row["black"] == row["white"] == 1
    assert row["ocean"] == row["flys"] == row["blue"] == 0


def test_it_is_downloaded_once(shared_data, server, monkeypatch):
    import pooch

    monkeypatch.setattr(pooch.get_logger(), "handlers", [])
    monkeypatch.setattr(animals, "MIRRORS", (server.url,))
    server.files = {
        name: (shared_data / "zero_shot" / name).read_bytes() for name, _ in animals.FILES
    }
    first, again = data.animals_with_attributes(), data.animals_with_attributes()
    np.testing.assert_array_equal(first.signatures, again.signatures)
    assert len(server.asked) == 3


def test_a_missing_or_damaged_file_is_refused(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(animals, "MIRRORS", ("http://127.0.0.1:0/",))
    with pytest.raises(DataError, match=r"classes\.txt is neither in root nor in"):
        data.animals_with_attributes(tmp_path)
    (tmp_path / "classes.txt").write_text("1\tcat\n")
    with pytest.raises(DataError, match=r"the content is not the animals' classes\.txt"):
        data.animals_with_attributes(tmp_path)
