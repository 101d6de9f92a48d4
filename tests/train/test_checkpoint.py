"""Checkpoints under kills, flipped bits, full disks, and folders with other people's files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlcore
from dlcore.train import checkpoint
from dlcore.train.checkpoint import CheckpointError, CheckpointWarning, Writer
from tests.budget import IN_CI

GOLDEN = Path(__file__).parent / "golden"


def trees(step):
    params = {"conv1": {"kernel": np.full((2, 3), step, np.float32)}, "none": None}
    return {"params": params, "optimizer": (np.array(step), {})}


META = {"epoch": 1, "best": 0.5, "history": [{"loss": 1.0}]}


def save(root, *steps, keep=3):
    for step in steps:
        checkpoint.save(root, step, trees(step), META, keep)


def restore(root, **options):
    return checkpoint.restore(root, trees(0), **options)


def assert_found(found, step):
    assert (found.step, found.meta) == (step, META)
    expected = trees(step)
    assert jax.tree.structure(found.trees) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found.trees, expected)


def content(root):
    """Every path below a folder with its bytes; folders with None."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if path.name != ".lock"
    }


# Saving and restoring


def test_what_was_saved_comes_back(tmp_path):
    assert restore(tmp_path / "none") is None
    assert restore(tmp_path) is None
    save(tmp_path, 5, 10)
    assert_found(restore(tmp_path), 10)
    assert_found(restore(tmp_path, step=5), 5)
    assert restore(tmp_path).path == tmp_path / "step-00000010"
    assert checkpoint.steps(tmp_path) == [5, 10]
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 7; there are \[5, 10\]"):
        restore(tmp_path, step=7)


def test_a_training_state_comes_back_as_jax_arrays_and_keys(tmp_path):
    state = {
        "params": (jnp.ones((2, 2)), jnp.array(0.5, jnp.bfloat16), jnp.zeros((0, 3))),
        "key": jax.random.key(3),
        5: None,
    }
    state = {str(name): leaf for name, leaf in state.items()}
    jax.random.uniform(state["key"])
    checkpoint.save(tmp_path, 1, {"state": state, "none": None}, {})
    found = checkpoint.restore(tmp_path, {"state": state, "none": None})
    assert found.trees["none"] is None
    restored = found.trees["state"]
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    for actual, expected in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
        assert isinstance(actual, jax.Array)
        assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(*(jax.random.key_data(s["key"]) for s in (restored, state)))
    jax.tree.map(np.testing.assert_array_equal, restored["params"], state["params"])


def test_the_newest_are_kept(tmp_path):
    save(tmp_path, 1, 20, 300, 4000, 123_456_789)
    assert checkpoint.steps(tmp_path) == [300, 4000, 123_456_789]
    assert_found(restore(tmp_path), 123_456_789)
    save(tmp_path, 123_456_790, keep=1)
    assert checkpoint.steps(tmp_path) == [123_456_790]


def test_later_steps_stay_when_an_earlier_one_is_saved(tmp_path):
    save(tmp_path, 10, 20, 30)
    save(tmp_path, 15, keep=1)
    assert checkpoint.steps(tmp_path) == [15, 20, 30]
    assert_found(restore(tmp_path, step=15), 15)


def test_a_step_saved_again_replaces_the_first(tmp_path):
    save(tmp_path, 1, 2)
    for loss in (0.5, 0.25):
        checkpoint.save(tmp_path, 2, trees(7), {"loss": loss})
    found = restore(tmp_path)
    assert (found.step, found.meta) == (2, {"loss": 0.25})
    np.testing.assert_array_equal(found.trees["optimizer"][0], 7)
    assert sorted(os.listdir(tmp_path)) == [".lock", "step-00000001", "step-00000002.2"]


def test_a_copy_with_other_times_loads(tmp_path):
    save(tmp_path / "a", 1, 2)
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    for path in (tmp_path / "b").rglob("*"):
        os.utime(path, (0, 0))
    shutil.rmtree(tmp_path / "a")
    assert_found(restore(tmp_path / "b"), 2)
    save(tmp_path / "b", 3)
    assert checkpoint.steps(tmp_path / "b") == [1, 2, 3]


def test_everything_is_on_the_disk_before_the_rename_and_the_rename_after(tmp_path, monkeypatch):
    log = []

    def logged(name, describe):
        real = getattr(os, name)

        def call(*arguments):
            log.append((name, describe(*arguments)))
            return real(*arguments)

        monkeypatch.setattr(os, name, call)

    logged("fsync", lambda descriptor: os.fstat(descriptor).st_ino)
    logged("rename", lambda source, target: target.name)
    save(tmp_path, 1)
    folder = tmp_path / "step-00000001"
    inodes = {path.stat().st_ino for path in folder.iterdir()}
    assert len(inodes) == 4
    assert {what for _, what in log[:4]} == inodes
    assert log[4:] == [
        ("fsync", folder.stat().st_ino),
        ("rename", folder.name),
        ("fsync", tmp_path.stat().st_ino),
    ]


def test_the_golden_checkpoint_of_format_1_loads():
    """Made by save(GOLDEN, 7)."""
    assert_found(restore(GOLDEN), 7)


# Kills


@pytest.fixture
def memory():
    """A folder without a disk beneath, where there is one: a thousand saves take a second."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(memory):
    """50 kills at random, and one at each call to the system, of a new and of a repeated step.

    All of these in CI, a fifth elsewhere.
    """
    program = Path(__file__).parent / "kill_saves.py"
    environment = {**os.environ, "PYTHONPATH": str(Path(dlcore.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, program, memory, str(1 if IN_CI else 5)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    steps, leftovers, *calls = map(int, re.findall(r"\d+", result.stdout))
    assert steps > 0
    assert leftovers > 0, "no kill fell into a save"
    assert min(calls) > 15


# Damage


@contextmanager
def passed_over(*words):
    """The one warning that names the damaged checkpoint, the file, and the step used instead."""
    with pytest.warns(CheckpointWarning) as caught:
        yield
    assert len(caught) == 1
    assert caught[0].filename == __file__
    message = str(caught[0].message)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    root = tmp_path_factory.mktemp("two") / "steps"
    save(root, 1, 2)
    return root


@pytest.fixture
def saved(two_steps, tmp_path):
    """A root with steps 1 and 2, and the folder of step 2."""
    root = shutil.copytree(two_steps, tmp_path / "root")
    return root, root / "step-00000002"


FILES = ["params.safetensors", "optimizer.safetensors", "meta.json", "manifest.json"]


def test_a_checkpoint_is_these_files(saved):
    assert sorted(os.listdir(saved[1])) == sorted(FILES)
    assert json.loads((saved[1] / "meta.json").read_text()) == META


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_named_and_the_previous_one_used(saved, name):
    root, folder = saved
    good = (folder / name).read_bytes()
    rng = random.Random(0)
    for position in range(0, len(good), 2 if name == "manifest.json" else 4):
        damaged = bytearray(good)
        damaged[position] ^= 1 << rng.randrange(8)
        (folder / name).write_bytes(damaged)
        with passed_over(f"step-00000002 is damaged: {name} ", "step-00000001 is used instead"):
            assert_found(restore(root), 1)
        with pytest.raises(CheckpointError, match=f"step-00000002 is damaged: {name}"):
            restore(root, step=2)
    (folder / name).write_bytes(good)
    assert_found(restore(root), 2)


@pytest.mark.parametrize("name", FILES)
def test_a_truncation_is_named_and_the_previous_one_used(saved, name):
    root, folder = saved
    good = (folder / name).read_bytes()
    for sixteenth in range(16):
        (folder / name).write_bytes(good[: len(good) * sixteenth // 16])
        with passed_over("step-00000002", name, "step-00000001 is used instead"):
            assert_found(restore(root), 1)
    (folder / name).write_bytes(good + b"\n")
    with passed_over("step-00000002", name, "step-00000001 is used instead"):
        assert_found(restore(root), 1)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["missing", "link", "folder", "pipe"])
def test_what_is_no_plain_file_is_named_and_the_previous_one_used(saved, name, how):
    root, folder = saved
    os.rename(folder / name, root / name)
    if how == "link":
        os.symlink(root / name, folder / name)
    elif how == "folder":
        os.mkdir(folder / name)
    elif how == "pipe":
        os.mkfifo(folder / name)
    with passed_over("step-00000002", name, "step-00000001 is used instead"):
        assert_found(restore(root), 1)


def test_an_empty_or_renamed_folder_is_damaged(saved):
    root, folder = saved
    os.mkdir(root / "step-00000003")
    os.rename(folder, root / "step-00000004")
    with passed_over("step-00000003 is damaged: manifest.json", "is that of step 2"):
        assert_found(restore(root), 1)


def test_when_all_are_damaged_all_are_listed(saved):
    root, folder = saved
    (folder / "meta.json").unlink()
    (root / "step-00000001" / "params.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        restore(root)
    for words in ("step-00000002 is damaged: meta.json", "step-00000001 is damaged: params.saf"):
        assert words in str(caught.value)


def test_a_run_goes_on_behind_a_damaged_checkpoint(saved):
    root, folder = saved
    (folder / "params.safetensors").write_bytes(b"")
    with passed_over("step-00000002"):
        assert restore(root).step == 1
    save(root, 2)
    assert_found(restore(root), 2)
    save(root, 3, 4, 5)
    assert checkpoint.steps(root) == [3, 4, 5]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("problem", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_what_cannot_be_read_is_not_called_damaged(saved, name, problem, monkeypatch):
    root, folder = saved
    real = os.open

    def refuse(path, *arguments, **options):
        if path == folder / name:
            raise OSError(problem, os.strerror(problem))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    line = f"step-00000002 cannot be read: {name} ({os.strerror(problem)})"
    with passed_over(line, "step-00000001 is used instead"):
        assert_found(restore(root), 1)
    with pytest.raises(CheckpointError, match=re.escape(line)) as caught:
        restore(root, step=2)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_has_grown_is_not_read(saved, name, monkeypatch):
    """A hole of a terabyte behind it: reading that would end the process."""
    root, folder = saved
    try:
        os.truncate(folder / name, 2**40)
    except OSError:
        pytest.skip("skipped, because the file system has no files with holes")
    with passed_over(f"step-00000002 is damaged: {name} (More than ", "is used instead"):
        assert_found(restore(root), 1)


# Lying manifests: whole by their own digest, so made on purpose


def forge(folder, **changes):
    """Rewrite a manifest by its documented rule: SHA-256 of the JSON without that entry."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | changes
    manifest.pop("sha256")
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    path.write_text(json.dumps(manifest, indent=2) + "\n")


def sums(folder):
    return json.loads((folder / "manifest.json").read_text())["files"]


def test_the_forged_manifests_differ_from_a_good_one_by_their_lie_alone(saved):
    forge(saved[1])
    assert_found(restore(saved[0]), 2)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.json",
        "/etc/secret.json",
        "..",
        ".",
        "",
        "a/b.json",
        "a\\b.json",
        "x.json\n",
        "x.py",
    ],
)
def test_a_manifest_cannot_point_out_of_its_folder(saved, name):
    root, folder = saved
    (root / "secret.json").write_bytes(b"{}")
    entry = {"size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    forge(folder, files={**sums(folder), name: entry})
    with passed_over("manifest.json does not list plain files"):
        assert_found(restore(root), 1)


@pytest.mark.parametrize(
    "files",
    [
        *(None, [], {}, {"meta.json": None}, {"meta.json": {"size": 1}}, {"meta.json": [1]}),
        *({"meta.json": {"size": size, "sha256": ""}} for size in ("9", 1.5, None, True, [1])),
    ],
)
def test_a_manifest_of_another_form_is_damaged(saved, files):
    forge(saved[1], files=files)
    with passed_over("step-00000002 is damaged: manifest.json"):
        assert_found(restore(saved[0]), 1)


@pytest.mark.parametrize("size", [-1, 0, 2**63, 10**30])
def test_a_size_that_lies_is_damage(saved, size):
    good = sums(saved[1])
    forge(saved[1], files={**good, "meta.json": {**good["meta.json"], "size": size}})
    with passed_over("step-00000002 is damaged: meta.json"):
        assert_found(restore(saved[0]), 1)


@pytest.mark.parametrize(
    "text", ["", "[]", "1", "{}", '{"sha256": 1}', "[" * 100_000, "\xff" * 2**21]
)
def test_a_manifest_of_nonsense_is_damaged(saved, text):
    (saved[1] / "manifest.json").write_text(text, encoding="latin-1")
    with passed_over("step-00000002 is damaged: manifest.json"):
        assert_found(restore(saved[0]), 1)


def test_a_later_format_is_no_damage(saved):
    forge(saved[1], format=2)
    with pytest.raises(CheckpointError, match="format 2, this dlcore reads 1; upgrade it"):
        restore(saved[0])


def test_contents_forged_together_with_the_manifest_are_refused(saved):
    root, folder = saved
    lies = [("params.safetensors", bytes(80)), ("meta.json", b"{"), ("meta.json", b"[" * 100_000)]
    for name, lie in lies:
        (folder / name).write_bytes(lie)
        entry = {"size": len(lie), "sha256": hashlib.sha256(lie).hexdigest()}
        good = sums(folder)
        forge(folder, files={**good, name: entry})
        with pytest.raises(CheckpointError, match=name):
            restore(root)
        save(root, 2)
        folder = restore(root).path


# Trees that do not fit


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"kernel": np.zeros((3, 2), np.float32)},
            r"kernel: wanted float32\[3, 2\], the file has f",
        ),
        (
            {"kernel": np.zeros((2, 3), jnp.bfloat16)},
            r"kernel: wanted bfloat16\[2, 3\], the file has",
        ),
        (
            {"kernal": np.zeros((2, 3), np.float32)},
            r"conv1/kernal: wanted .*; conv1/kernel: not wa",
        ),
        ({}, r"conv1/kernel: not wanted, the file has float32\[2, 3\]"),
    ],
)
def test_another_tree_is_refused_by_leaf_without_falling_back(saved, change, problem):
    likes = trees(0)
    likes["params"]["conv1"] = change
    with pytest.raises(CheckpointError, match=rf"step-00000002/params.safetensors: .*{problem}"):
        checkpoint.restore(saved[0], likes)


def test_other_tree_names_are_refused(saved):
    message = r"holds the trees \['optimizer', 'params'\], not \['params'\]"
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore(saved[0], {"params": trees(0)["params"]})


@pytest.mark.parametrize(
    ("names", "meta", "message"),
    [
        (["../params"], {}, "letters, digits, - and _, got '../params'"),
        (["params"], {"best": float("inf")}, "meta: cannot be written as JSON"),
        (["params"], {"shape": (1, 2)}, "meta: changes when written as JSON"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_written(saved, names, meta, message):
    before = content(saved[0])
    with pytest.raises(CheckpointError, match=message):
        checkpoint.save(saved[0], 3, dict.fromkeys(names, np.zeros(1)), meta)
    assert content(saved[0]) == before


def test_a_leaf_that_cannot_be_stored_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"params: a/0: .* cannot be stored"):
        checkpoint.save(tmp_path, 3, {"params": {"a": [np.zeros(1, complex)]}}, {})


@pytest.mark.parametrize("step", [-1, 1.5, "1"])
def test_a_step_is_a_count(tmp_path, step):
    with pytest.raises((ValueError, TypeError)):
        checkpoint.save(tmp_path, step, {}, {})
    with pytest.raises(ValueError, match="keep must be at least 1 checkpoint, got 0"):
        Writer(tmp_path, keep=0)


# The disk


@contextmanager
def full_disk(limit):
    """Files cannot grow beyond a limit, as on a disk with no more room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_earlier_checkpoints(saved):
    root, _ = saved
    before = content(root)
    with full_disk(10_000), pytest.raises(CheckpointError, match="step 3 cannot be saved"):
        checkpoint.save(root, 3, {"params": np.zeros(100_000)}, {})
    assert content(root) == before
    assert_found(restore(root), 2)


@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_save_that_fails_or_is_interrupted_leaves_no_litter(saved, monkeypatch, call, problem):
    root, _ = saved
    before = content(root)
    with Writer(root) as writer:

        def fail(*arguments):
            raise problem

        monkeypatch.setattr(os, call, fail)
        with pytest.raises((CheckpointError, KeyboardInterrupt)):
            writer.save(3, trees(3), META)
        monkeypatch.undo()
        assert content(root) == before
        writer.save(3, trees(3), META)
    assert_found(restore(root), 3)


@contextmanager
def unprivileged():
    """Root may write everywhere: be somebody else for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_read_only_folder_is_one_clear_line():
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        save(root, 1)
        for path in (root, *root.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            with unprivileged():
                with pytest.raises(
                    CheckpointError, match=r"cannot be written \(Permission denied\)"
                ):
                    save(root, 2)
                with pytest.raises(
                    CheckpointError, match=r"cannot be written \(Permission denied\)"
                ):
                    save(root / "below", 2)
                assert_found(restore(root), 1)
        finally:
            root.chmod(0o755)
            (root / "step-00000001").chmod(0o755)


def test_a_root_that_is_a_file_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"file: cannot be written \(File exists\)"):
        save(tmp_path / "file", 1)
    with pytest.raises(CheckpointError, match=r"file: cannot be read \(Not a directory\)"):
        restore(tmp_path / "file")


@pytest.mark.parametrize("problem", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_a_file_system_that_cannot_sync_folders_has_checkpoints_too(tmp_path, problem, monkeypatch):
    real, synced = os.fsync, []

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(problem, os.strerror(problem))
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    save(tmp_path, 1, 2)
    assert_found(restore(tmp_path), 2)
    folder = tmp_path / "step-00000002"
    assert {path.stat().st_ino for path in folder.iterdir()} <= set(synced)


def test_a_file_that_cannot_be_synced_is_no_checkpoint(tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CheckpointError, match=r"step 1 cannot be saved \(Invalid argument\)"):
        save(tmp_path, 1)
    assert checkpoint.steps(tmp_path) == []


def test_the_home_folder_and_impossible_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save("~/run", 1)
    assert os.listdir(tmp_path) == ["run"]
    assert_found(restore("~/run"), 1)
    assert checkpoint.steps("~/run") == [1]
    for function in (restore, checkpoint.steps, Writer):
        with pytest.raises(CheckpointError, match=r"^'a\\x00b' is no path"):
            function("a\0b")


def test_a_tree_that_contains_itself_is_refused(tmp_path):
    tree = {"a": np.zeros(1)}
    tree["within"] = tree
    with pytest.raises(CheckpointError, match="params: the tree contains itself"):
        checkpoint.save(tmp_path, 1, {"params": tree}, {})
    with pytest.raises(CheckpointError, match="meta: cannot be written as JSON"):
        checkpoint.save(tmp_path, 1, {}, {"tree": tree})


# Two writers, and other people's files


@pytest.mark.parametrize("exists", [True, False])
def test_the_lock_is_no_link(tmp_path, exists):
    """What it leads to is neither opened nor made."""
    away, root = tmp_path / "away", tmp_path / "root"
    root.mkdir()
    if exists:
        away.write_text("theirs")
    (root / ".lock").symlink_to(away)
    with pytest.raises(CheckpointError, match=r"root/.lock: a link, which no lock may be; remove"):
        save(root, 1)
    assert away.exists() == exists
    assert os.listdir(root) == [".lock"]
    (root / ".lock").unlink()
    save(root, 1)
    (tmp_path / "link").symlink_to(root)  # the folder itself may be one
    save(tmp_path / "link", 2)
    assert checkpoint.steps(root) == [1, 2]


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path):
    with Writer(tmp_path) as writer:
        writer.save(1, trees(1), META)
        with pytest.raises(CheckpointError, match="another run saves here; wait, or choose"):
            save(tmp_path, 2)
        assert_found(restore(tmp_path), 1)
    save(tmp_path, 2)
    with pytest.raises(CheckpointError, match="open the writer before saving: with Writer"):
        writer.save(3, trees(3), META)
    assert checkpoint.steps(tmp_path) == [1, 2]


def test_leftovers_are_never_chosen_and_only_ours_are_removed(tmp_path):
    save(tmp_path, 1)
    whole = tmp_path / "step-00000001"
    ours = [".tmp-step-00000009-0123abcd", ".tmp-step-00000009.3-0123abcd"]
    foreign = [".tmp-step-00000009", ".tmp-step-9-0123abcd", "tmp-step-00000009-0123abcd"]
    foreign += ["step-9", "step-00000009.tmp", "step-00000009 (copy)", "best"]
    for name in ours + foreign:
        shutil.copytree(whole, tmp_path / name)
    shutil.copytree(whole, tmp_path / ".tmp-step-00000009-89abcdef")
    (tmp_path / ".tmp-step-00000009-89abcdef" / "notes.txt").write_text("mine")
    (tmp_path / "step-00000010").write_text("a file")
    (tmp_path / "step-00000011").symlink_to(whole)
    (tmp_path / ".tmp-step-00000012-89abcdef").symlink_to(whole)
    before = content(tmp_path)
    assert_found(restore(tmp_path), 1)
    with Writer(tmp_path):
        pass
    after = content(tmp_path)
    assert before.keys() - after.keys() == {
        path for path in before if path.split("/", 1)[0] in ours
    }
    assert before == before | after
    save(tmp_path, 2, 3, 4)
    assert checkpoint.steps(tmp_path) == [2, 3, 4]
    remaining = content(tmp_path)
    assert {path for path in after if not path.startswith("step-00000001")} <= remaining.keys()


def test_a_checkpoint_with_someones_file_in_it_is_used_but_not_removed(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "step-00000001" / "notes.txt").write_text("the good one")
    assert_found(restore(tmp_path), 1)
    save(tmp_path, 2, 3, keep=1)
    assert checkpoint.steps(tmp_path) == [1, 3]
    assert_found(restore(tmp_path, step=1), 1)
