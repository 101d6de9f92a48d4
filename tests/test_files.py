"""Paths that people give, files that are read up to a limit, and writing in one step."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dlcore import files


class OwnError(ValueError):
    pass


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_tilde_is_the_home_folder(home):
    assert files.located("~") == home
    assert files.located("~/runs/a") == home / "runs" / "a"
    assert files.located(Path("~/runs")) == home / "runs"
    assert files.located("~root").is_absolute()


@pytest.mark.parametrize(
    "path", ["runs", "/runs", "a/~/b", "~nobody-of-this-name/a", "~$a.doc", "~a"]
)
def test_other_paths_are_as_they_were(path, home):
    assert files.located(path) == Path(path)


@pytest.mark.parametrize("path", ["a\0b", "~/a\0", "\ud800", "\0" * 10_000])
def test_a_path_that_cannot_be_is_one_line(path):
    with pytest.raises(
        OwnError, match=r"^'.*is no path: it has a character that no file"
    ) as caught:
        files.located(path, OwnError)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()
    with pytest.raises(ValueError, match="is no path"):
        files.located(path)


def test_a_home_that_nobody_knows_is_no_folder_called_tilde(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    with pytest.raises(ValueError, match="~/runs: nobody knows the home folder, HOME is not set"):
        files.located("~/runs")


@pytest.mark.parametrize("path", [None, 3, b"runs"])
def test_what_is_no_path_at_all_is_a_type_error(path):
    with pytest.raises(TypeError):
        files.located(path)


def test_names_of_bytes_that_are_no_text_stay(tmp_path):
    """As os.listdir gives them."""
    path = tmp_path / os.fsdecode(b"\xff")
    files.replace(path, b"x")
    assert files.read(files.located(path), 1) == b"x"


def test_reading_stops_at_the_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert files.read(path, 5) == b"12345"
    with pytest.raises(OSError, match="More than 4 bytes") as caught:
        files.read(path, 4)
    assert caught.value.errno == errno.EFBIG
    try:
        os.truncate(path, 2**42)  # a hole of four terabytes, which no memory would hold
    except OSError:
        pytest.skip("skipped, because the file system has no files with holes")
    with pytest.raises(OSError, match="More than 5 bytes"):
        files.read(path, 5)


def test_a_file_that_grows_while_it_is_read_is_not_read_on(tmp_path, monkeypatch):
    path, real = tmp_path / "a", os.fstat
    path.write_bytes(bytes(10**6))

    def earlier(descriptor):
        found = list(real(descriptor))
        found[6] = 5
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", earlier)
    with pytest.raises(OSError, match="More than 5 bytes"):
        files.read(path, 5)


def test_only_plain_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"1")
    for name, problem in (
        (tmp_path / "pipe", "Not a plain file"),
        (Path("/dev/zero"), "Not a plain file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(OSError, match=problem):
            files.read(name, 5)
    assert files.read(tmp_path / "link", 5) == b"1"
    with pytest.raises(OSError, match="symbolic link"):
        files.read(tmp_path / "link", 5, os.O_NOFOLLOW)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        with pytest.raises(OSError, match="Not a plain file"):
            files.plain(tmp_path / "pipe")
    assert not before or len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "problem", [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF]
)
def test_folders_that_cannot_be_synced_are_written_to(tmp_path, problem, monkeypatch):
    real, folders = os.fsync, []

    def fsync(descriptor):
        if os.path.isdir(f"/dev/fd/{descriptor}"):
            folders.append(descriptor)
            raise OSError(problem, os.strerror(problem))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    files.replace(tmp_path / "a", b"1")
    assert folders
    assert (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.parametrize("problem", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_is_not_tolerated(tmp_path, problem, monkeypatch):
    def fsync(descriptor):
        raise OSError(problem, os.strerror(problem))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=os.strerror(problem)):
        files.sync(tmp_path)


def test_a_file_is_replaced_in_the_home_folder(home):
    files.replace("~/a", b"1")
    files.replace(Path("~/a"), b"2")
    assert os.listdir(home) == ["a"]
    assert (home / "a").read_bytes() == b"2"


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    files.replace(tmp_path / ("a" * 255), b"1")
    assert os.listdir(tmp_path) == ["a" * 255]


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_folder_is_not_replaced(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match=r".+") as caught:
        files.replace(name, b"1")
    assert caught.value.strerror
    assert os.listdir(tmp_path) == []
