from __future__ import annotations

import importlib
import signal

import numpy as np
import pytest

from experiments import frame
from experiments.speed import _compare, _networks, _worker, bench
from experiments.speed.peers import DLCORE, PEERS


def test_the_yardstick_counts_the_products_that_it_makes(monkeypatch):
    yardstick = importlib.import_module("experiments.speed.peers.matrix_product")
    monkeypatch.setattr(yardstick, "SIZE", 16)
    matrix = yardstick.ready(None)
    _, turns = yardstick.start("mlp", [], matrix)
    power = np.linalg.matrix_power(np.asarray(matrix, np.float64), yardstick.PRODUCTS + 1)
    assert [float(one) for one in next(turns)] == pytest.approx([power[0, 0]], rel=1e-4)


def test_turns_cover_a_round_and_begin_again():
    asked = _networks.turns(lambda *steps: steps, _networks.NETWORKS["lenet5"])
    assert [next(asked) for _ in range(4)] == [(0, 1, 1), (1, 20, 1), (0, 20, 5), (0, 20, 5)]


def test_everybody_is_first_equally_often():
    rounds = [_compare.turned(["a", "b", "c"], number) for number in range(3)]
    assert list(map(sorted, rounds)) == [["a", "b", "c"]] * 3
    assert [list(place) for place in zip(*rounds, strict=True)] == rounds


def side(speeds, **others):
    return _compare.Side(
        **{
            "speeds": speeds,
            "first_step_seconds": 1.0,
            "parameters": 1,
            "loss": 1.0,
            "imported": 100,
            "memory": 200,
            **others,
        }
    )


def test_every_network_has_its_claim():
    assert set(bench.FLOORS) == set(_networks.NETWORKS)


def test_claims_compare_with_the_fastest_that_ran():
    sides = {
        DLCORE: side([30.0, 20.0, 30.0], first_step_seconds=3.0, memory=310),
        "PyTorch eager": side([30.0, 10.0, 10.0]),
        "Flax NNX": side([10.0, 10.0, 10.0], first_step_seconds=2.0),
        "Flax Linen": side([15.0, 10.0, 15.0], first_step_seconds=4.0, memory=300),
    }
    row = _compare.Row("lenet5", 10, 1e3, sides)
    result = frame.Result(bench, bench.Config(), bench.Measured([row], [], None))
    assert {one.what: (one.expected, one.measured, one.holds) for one in result.claims} == {
        "lenet5: fit / the fastest peer": ("≥ 1", 2.0, True),
        "lenet5: fit / the fastest framework on JAX": ("≥ 2", 2.0, True),
        "lenet5: time to the first loss, fit / the quickest framework": ("≤ 1", 1.5, False),
        "lenet5: memory, fit / the fastest framework": ("≤ 1.1", pytest.approx(1.05), True),
    }
    (_, speeds), *_ = result.tables.items()
    *_, peer, framework = list(speeds)[1]
    assert peer == "2.00 (1.50 – 2.50), PyTorch eager"
    assert framework == "2.00 (2.00 – 2.00), Flax Linen"


def test_what_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(bench, "_version", lambda name: None if name == "torch" else "1.0")
    asked = []

    def compare(name, labels, rounds):
        asked.append((name, labels))
        return _compare.Row(name, 10, 1e3, {DLCORE: side([1.0])})

    monkeypatch.setattr(bench, "compare", compare)
    result = frame.run(bench, bench.Config(networks="vae", peers="torch,sklearn"))
    assert asked == [("vae", ["scikit-learn"])]
    assert result.claims == []
    assert "Not installed: PyTorch eager (torch)." in " ".join(result.tables)


def test_a_peer_that_has_its_code_compiled_needs_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "_version", lambda name: "1.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    lacking = {label: bench._lacking(peer) for label, peer in PEERS.items()}
    assert {label: one for label, one in lacking.items() if one} == {
        "torch.compile": "a C++ compiler"
    }
    (tmp_path / "g++").touch(mode=0o755)
    assert bench._lacking(PEERS["torch.compile"]) is None


def test_a_gpt_by_hand_has_query_key_and_value_as_one_product():
    """Beside the three: the same numbers at the same places."""
    rng = np.random.default_rng(0)
    sizes = [(5, 4), (3, 4), (4,), *[(4, 4)] * 4, (4,), (4, 16), (16, 4), (4,)]
    places = [[rng.normal(size=size), rng.normal(size=size[-1:])] for size in sizes]
    embedding, position, norm, one, *others = _networks.fused("gpt", places)
    x = rng.normal(size=4)
    apart = [x @ kernel + bias for kernel, bias in places[3:6]]
    np.testing.assert_allclose(np.split(x @ one[0] + one[1], 3), apart)
    assert [embedding, position, norm, *others] == [*places[:3], *places[6:]]
    assert _networks.fused("mlp", places) is places


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parameters": 106}, "playground: parameters: 105 in dlcore fit, but 106 in other"),
        ({"loss": 0.51}, "playground: mean loss of a round: 0.51 in dlcore fit, but 0.5 in other"),
    ],
)
def test_networks_that_compute_something_else_are_not_compared(change, said):
    class Other:
        label = "other"
        hello = staticmethod(lambda: _worker.Hello(memory=1, has_network=True))
        turn = staticmethod(lambda: _worker.Turn(1.0, 0.5, change.get("parameters", 105), 2))

    same = side([], parameters=105, loss=0.5)
    assert _compare.begin(Other(), "playground", None) is not None
    wrong = same._replace(loss=change.get("loss", 0.5))
    with pytest.raises(ValueError, match=said):
        _compare.begin(Other(), "playground", wrong)


def test_a_process_that_dies_says_who_and_why(tmp_path):
    with (
        _worker.Worker("somebody", "peers.nobody", "mlp", tmp_path) as worker,
        pytest.raises(ChildProcessError, match=r"somebody ended on mlp: .*No module named"),
    ):
        worker.hello()


def test_a_process_ends_when_nobody_asks_any_more(tmp_path):
    _compare.write("playground", tmp_path)
    with _worker.Worker("fit", "peers.dlcore_fit", "playground", tmp_path) as worker:
        assert worker.hello().has_network
        worker._process.stdin.close()
        assert worker._process.wait(60) == 0


def test_a_turn_that_is_cut_short_leaves_no_process(tmp_path):
    _compare.write("playground", tmp_path)
    with (
        pytest.raises(KeyboardInterrupt),
        _worker.Worker("fit", "peers.dlcore_fit", "playground", tmp_path) as worker,
    ):
        raise KeyboardInterrupt
    assert worker._process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--networks", "mlp,lenet"], "did you mean lenet5?"),
        (["--networks", ""], "no network is called ''"),
        (["--peers", "pytorch"], "did you mean torch?"),
        (["--rounds", "0"], "rounds"),
    ],
)
def test_bad_input_is_one_line(command, flags, said):
    status, _, err = command("bench", *flags)
    assert (status, err.count("\n")) == (2, 1)
    assert said in err


def test_of_a_text_what_comes_next_is_asked():
    found = _compare.characters(2, 5)
    assert found["x"].shape == found["y"].shape == (2, 5)
    np.testing.assert_array_equal(found["x"][:, 1:], found["y"][:, :-1])
