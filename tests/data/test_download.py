from __future__ import annotations

import io
import sys

import pooch
import pytest

from dlcore import data
from dlcore.data import DataError, files, mnist


@pytest.fixture
def mirrored(server, small_mnist, monkeypatch):
    """`mnist`, small, on a server; and no log of pooch's, which goes to the stderr there was when
    pooch was imported: that of another test, closed by now.
    """
    monkeypatch.setattr(pooch.get_logger(), "handlers", [])
    server.files = dict(small_mnist.gz)
    monkeypatch.setattr(mnist, "MNIST", small_mnist.source((server.url,)))
    return server


def kept(cache):
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file())


def load():
    return data.load("mnist", validation=5)


def test_downloads_once(mirrored, small_mnist, cache):
    first = load()
    assert kept(cache) == [f"mnist/{name}" for name in sorted(small_mnist.gz)]
    assert mirrored.asked == [f"/good/{name}" for name in small_mnist.gz]
    mirrored.close()
    assert repr(load()) == repr(first)


def test_downloads_only_what_root_lacks(mirrored, small_mnist, tmp_path, cache):
    root = small_mnist.write(tmp_path / "root")
    name = next(iter(small_mnist.gz))
    (root / name).unlink()
    data.load("mnist", root, validation=5)
    assert mirrored.asked == [f"/good/{name}"]
    assert kept(cache) == [f"mnist/{name}"]


def test_goes_on_to_the_next_mirror(mirrored, small_mnist, monkeypatch):
    mirrors = (mirrored.bad_url, mirrored.url)
    monkeypatch.setattr(mnist, "MNIST", small_mnist.source(mirrors))
    load()
    assert [path.split("/")[1] for path in mirrored.asked] == ["bad", "good"] * 4


def failure(cache):
    with pytest.raises(DataError) as error:
        load()
    assert "\n" not in str(error.value)
    assert kept(cache) == []
    return str(error.value)


def test_a_file_the_server_lacks(mirrored, cache):
    mirrored.files = {}
    assert f"{mirrored.url} (HTTP status 404)" in failure(cache)


def test_a_changed_file_is_not_kept(mirrored, cache):
    mirrored.files = {name: content + b"\0" for name, content in mirrored.files.items()}
    assert "another SHA-256" in failure(cache)


def test_half_a_file_is_not_kept(mirrored, cache):
    mirrored.lacking = 10
    assert "the transfer broke" in failure(cache)


def test_a_silent_server_is_given_up(mirrored, cache, monkeypatch):
    monkeypatch.setattr(files, "_TIMEOUT", 0.2)
    mirrored.slow = 1.0
    assert "no answer" in failure(cache)


def test_no_server(mirrored, cache):
    mirrored.close()
    assert "no connection" in failure(cache)


def test_a_cache_that_cannot_be_written(mirrored, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file, not a folder")
    monkeypatch.setenv("DLCORE_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match="the cache cannot be written"):
        load()


def test_the_bar_is_for_terminals(mirrored, cache, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal, pipe = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    load()
    assert "%" not in pipe.getvalue()
    for path in cache.rglob("*.gz"):
        path.unlink()
    monkeypatch.setattr(sys, "stderr", terminal)
    load()
    assert "100%" in terminal.getvalue()


def test_the_cache_without_the_variable_is_the_users(monkeypatch):
    import platformdirs

    monkeypatch.delenv("DLCORE_DATA")
    assert str(files.cache()) == platformdirs.user_cache_dir("dlcore", appauthor=False)
