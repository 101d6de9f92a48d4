from __future__ import annotations

import pytest

from experiments.speed import growth


def test_a_slope_is_the_power_by_which_time_grows():
    cubes = growth.Series("cubes", [1.0, 2.0, 4.0], [3.0, 24.0, 192.0])
    assert cubes.slope == pytest.approx(3)


def test_memory_is_compared_after_it_has_settled():
    settled = [100, 190, 200] + [200] * 26 + [202]
    assert growth.Memory("one", list(range(30)), settled).growth == pytest.approx(0.01)


def test_the_arithmetic_grows_as_the_networks_do():
    config = growth.Config(factors=(1, 2), batches=(16, 64))

    def ends(name):
        return [growth.operations(*point) for point in growth.GROWING[name](config)]

    for name in ("mlp_batch", "conv_batch"):
        first, last = ends(name)
        assert last == pytest.approx(4 * first, rel=0.02)
    first, last = ends("mlp_depth")  # a product of 128×256 and 256×256 more: forward, twice back
    assert last - first == pytest.approx(3 * 2 * 128 * 256 * 256, rel=0.02)
    first, last = ends("conv_width")  # the second convolution has 4 times as many, the first twice
    assert 2 < last / first < 4


def test_growth_measures_and_draws():
    result = growth.run(growth.Config.smoke())
    assert [len(one.seconds) for one in result.steps] == [2]
    assert all(seconds > 0 for one in (*result.steps, result.epochs) for seconds in one.seconds)
    (memory,) = result.memory
    assert memory.steps[-1] > 10 * memory.steps[growth.ROUNDS - 1]
    assert len(result.claims) == 3
    assert len(growth.plot(result).axes) == 3


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--growing", "mlp_wide"], "did you mean mlp_width?"),
        (["--factors", "2", "2"], "factors"),
        (["--seconds", "0"], "seconds"),
    ],
)
def test_bad_input_is_one_line(command, flags, said):
    status, _, err = command("growth", *flags)
    assert (status, err.count("\n")) == (2, 1)
    assert said in err
