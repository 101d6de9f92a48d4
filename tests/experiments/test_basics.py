from __future__ import annotations

import csv
import dataclasses
import json
import shlex
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, log_loss, recall_score

from dlcore import models, train
from dlcore.interop import weights
from experiments import output
from experiments.basics import classify, predict
from experiments.choice import BadInput
from experiments.flags import resumed

WRITTEN = {
    *("checkpoints", "confusion.png", "curves.png", "metrics.csv", "metrics.jsonl"),
    *("mistakes.png", "result.json", "result.md", "weights.safetensors"),
}


def test_three_epochs_tell_most_digits_and_draw_three_pictures(smoke):
    assert smoke("classify").measured.test_accuracy > 0.9
    assert set(classify.plot(smoke("classify"))) == {"curves", "confusion", "mistakes"}


def test_the_figures_are_those_of_scikit_learn():
    result = classify.run(classify.Config(model="linear", epochs=2))
    labels, said = result.labels, result.predicted
    assert result.test_accuracy == pytest.approx((labels == said).mean())
    assert result.test_loss == pytest.approx(log_loss(labels, result.probabilities), abs=1e-5)
    np.testing.assert_array_equal(result.confusion, confusion_matrix(labels, said))
    recall = recall_score(labels, said, average=None)
    np.testing.assert_allclose(list(result.recall.values()), recall, atol=1e-6)


def test_the_command_writes_all_its_files_and_tells_the_figures(command, tmp_path):
    status, out, err = command("classify", "--model", "linear", "--epochs", 2, "--out", "here")
    assert (status, err) == (0, "")
    folder = tmp_path / "here"
    assert {path.name for path in folder.iterdir()} == WRITTEN | {".experiment"}
    facts = json.loads((folder / "result.json").read_text())
    measured = facts["measured"]
    assert measured["epochs"] == 2
    assert measured["steps"] == 2 * (1257 // 32)
    assert measured["parameters"] == 650
    assert facts["seconds"] > measured["seconds"] > 0
    assert 0 < measured["test_loss"] < 3
    assert measured["choices"]["learning_rate"] == 0.05
    assert facts["config"]["data"] == "digits"
    assert facts["config"].keys() == {f.name for f in dataclasses.fields(classify.Config)}
    assert f"{measured['test_accuracy']:.4f}" in out
    assert "linear(64, 10)" in out
    assert "most often taken for" in out
    with (folder / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    # A finished run is not trained again, and never with other settings than those in its folder.
    flags = ("classify", "--out", "here", "--resume")
    status, out, err = command(*flags)
    assert (status, err) == (0, "")
    assert "epoch 1/2" not in out
    again = json.loads((folder / "result.json").read_text())
    assert again["measured"]["test_loss"] == measured["test_loss"]
    status, _, err = command(*flags, "--seed", 1)
    assert (status, err.count("\n")) == (2, 1)
    assert "begun with seed=0, not 1" in err


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        ([], None),
        (["--data", "mnist", "--batch-size", "64", "--epochs", "12", "--root", "new"], None),
        (["--data", "digits"], "begun with data=mnist, not digits"),
        (["--epochs", "13"], "begun with epochs=12, not 13"),
        (["--learning-rate", "0.1"], "begun with learning_rate=0.05, not 0.1"),
        (["--clip", "1"], "begun with clip=None, not 1.0"),
    ],
)
def test_a_run_goes_on_with_what_was_said_and_what_was_left_out(flags, refused):
    begun = output.plain(classify.Config("mnist", "linear", root=Path("old"), seed=3))
    if refused is None:
        config = resumed(classify, ["--resume", *flags], begun)
        assert (config.data, config.model, config.seed, config.resume) == (
            "mnist",
            "linear",
            3,
            True,
        )
        assert config.root == Path("new" if flags else "old")
    else:
        with pytest.raises(BadInput, match=refused):
            resumed(classify, ["--resume", *flags], begun)


FRAMING = {"canvas": 8, "box": [8, 6], "squeeze": True, "by_mass": False, "stroke": 0.2}


@pytest.mark.parametrize(
    ("change", "described"),
    [
        ({}, True),
        ({"framing": None}, True),
        ({"framing": "x"}, False),
        ({"framing": {"canvas": 8}}, False),
        ({"framing": FRAMING | {"box": [9, 6]}}, False),
        ({"framing": FRAMING | {"stroke": None}}, False),
        ({"framing": FRAMING | {"more": 1}}, False),
        ({"classes": 10}, False),
        ({"classes": ["0"]}, False),
        ({"mean": "x"}, False),
        ({"mean": [0.1, 0.2]}, False),
        ({"std": [0]}, False),
        ({"arguments": {"inputs": [64], "classes": 10}}, False),
    ],
)
def test_a_file_may_say_anything_of_its_weights(change, described):
    good = {
        "arguments": {"inputs": [8, 8, 1], "classes": 10},
        "classes": [str(digit) for digit in range(10)],
        "mean": [0.3],
        "std": [0.4],
        "framing": FRAMING,
    }
    assert predict._is_described(good | change) is described
    assert not any(predict._is_described(good | {name: "x"}) for name in good)
    assert predict._is_described({}) is False


@pytest.mark.slow
def test_the_weights_stand_for_the_network_that_was_tested(trained):
    path = trained / "weights.safetensors"
    body, params, state = models.load(path)
    _, description = weights.load(path)
    assert description["architecture"] == "mlp"
    assert description["classes"] == [str(digit) for digit in range(10)]
    dataset = classify.load(classify.Config(model="mlp"))
    pixels = dataset.train["x"]
    np.testing.assert_allclose(description["mean"], pixels.mean(), atol=1e-4)
    np.testing.assert_allclose(description["std"], pixels.std(), atol=1e-4)
    images = (dataset.test["x"] - description["mean"][0]) / description["std"][0]
    logits = train.predict(body, params, state, {"x": images.astype(np.float32)})
    assert (logits.argmax(-1) == dataset.test["y"]).mean() > 0.95


def test_what_is_left_out_is_chosen_and_what_is_said_is_kept():
    chosen = classify.choices(classify.Config(model="linear", epochs=7, optimizer="adam"))
    assert chosen == classify.Choices(7, 32, 2e-3, 0.0)
    said = classify.Config(batch_size=5, learning_rate=0.1, label_smoothing=0.0)
    assert classify.choices(said) == classify.Choices(30, 5, 0.1, 0.0)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--data", "digit"], ["digit", "digits"]),
        (["--data", "mnst"], ["did you mean mnist"]),
        (["--model", "lenet"], ["did you mean lenet5"]),
        (["--model", "vgg"], ["vgg", "linear, mlp, lenet5"]),
        (["--optimizer", "nadam"], ["did you mean adam"]),
        (["--precision", "float16"], ["float16", "bfloat16"]),
        (["--epochs", "0"], ["epochs", "0"]),
        (["--epochs", "99999999999999999999"], ["epochs", "32 bits"]),
        (["--batch-size", "-3"], ["batch_size", "-3"]),
        (["--batch-size", "5000"], ["5000", "1257"]),
        (["--patience", "0"], ["patience"]),
        (["--learning-rate", "-1"], ["learning_rate"]),
        (["--learning-rate", "0"], ["learning_rate", "0"]),
        (["--learning-rate", "nan"], ["learning_rate", "nan"]),
        (["--clip", "-1"], ["clip"]),
        (["--label-smoothing", "1"], ["label_smoothing"]),
        (["--seed", "-1"], ["seed"]),
        (["--seed", "5000000000"], ["seed"]),
        (["--epochs", "many"], ["--epochs", "many"]),
        (["--epoch", "3"], ["did you mean --epochs?"]),
        (["--root", "nowhere"], ["nowhere"]),
        (["--data", "mnist", "--root", "nowhere"], ["nowhere"]),
        (["--out", "/dev/null/x"], ["/dev/null"]),
        (["--learning-rate", "1e38", "--model", "linear"], ["not finite", "learning rate"]),
    ],
)
def test_bad_input_is_one_line_and_status_2(command, flags, said):
    status, out, err = command("classify", *flags)
    assert (status, err.count("\n")) == (2, 1), err
    assert "Traceback" not in out + err
    for text in said:
        assert text in err


def test_a_damaged_file_is_named(command, tmp_path):
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{name}-ubyte.gz").write_bytes(b"\x1f\x8b no gzip after all")
    status, _, err = command("classify", "--data", "mnist", "--root", "data")
    assert (status, err.count("\n")) == (2, 1)
    assert "-ubyte.gz" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"batch_size": 64}, {"label_smoothing": 0.2}, {"precision": "bfloat16"}]
)
def test_a_setting_reaches_the_training(change):
    base = classify.Config(model="linear", epochs=1)
    losses = [classify.run(one).test_loss for one in (base, dataclasses.replace(base, **change))]
    assert abs(losses[0] - losses[1]) > 1e-6


@pytest.mark.parametrize("name", classify.OPTIMIZERS)
def test_the_optimizer_warms_up_and_its_gradient_is_clipped(name):
    """Longer gradients than `clip` move the weights as one of that length does."""
    config = classify.Config(optimizer=name, clip=1.0)
    optimizer = classify.make_optimizer(config, classify.choices(config), 100)

    def moves(scale):
        params = {"w": jnp.ones(4)}
        state = optimizer.init(params)
        for _ in range(2):
            updates, state = optimizer.update({"w": scale * jnp.arange(1.0, 5)}, state, params)
            yield updates["w"]

    short, long = list(moves(10.0)), list(moves(1000.0))
    np.testing.assert_array_equal(short[0], 0)
    assert np.all(short[1] != 0)
    np.testing.assert_allclose(short[1], long[1], rtol=1e-5)


@pytest.mark.slow
def test_sigint_saves_and_the_command_it_names_goes_on_to_the_same_end(process, tmp_path):
    flags = ("-m", "experiments", "classify", "--model", "linear", "--epochs", 300, "--out")
    whole = process(*flags, "whole")
    # It cannot end before the signal: nobody reads on, and two pipes full are 80 lines.
    broken = process(*flags, "bro ken", pipesize=4096)
    for line in broken.stdout:
        if line.startswith("epoch 3/"):
            break
    broken.send_signal(signal.SIGINT)
    _, err = broken.communicate()
    assert broken.returncode == 130
    assert err.count("\n") == 1
    assert "interrupted after step" in err
    _, *command = shlex.split(err.partition("go on with: ")[2])
    assert command[-1] == "--resume"
    resumed = process(*command)
    out, err = resumed.communicate()
    assert (resumed.returncode, err) == (0, "")
    assert "epoch 3/" not in out
    whole.communicate()
    files = [tmp_path / name / "weights.safetensors" for name in ("whole", "bro ken")]
    trees = [weights.load(file)[0] for file in files]
    jax.tree.map(np.testing.assert_array_equal, *trees)


@pytest.mark.slow
def test_the_default_run_reaches_its_floor(command):
    status, out, err = command("classify")
    assert (status, err) == (0, "")
    assert "test accuracy of lenet5 on digits" in out


@pytest.mark.slow
def test_softmax_regression_on_mnist_reaches_its_floor(command, shared_data):
    status, out, err = command(
        "classify", "--data", "mnist", "--model", "linear", "--root", shared_data
    )
    assert (status, err) == (0, "")
    assert "test accuracy of linear on mnist" in out
