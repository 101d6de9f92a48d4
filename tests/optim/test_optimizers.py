"""One table of optimizers drives every property: dlcore's factory, optax's, and a grid for both."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from dlcore import optim

STEPS = 100


class Case(NamedTuple):
    name: str
    ours: Callable[..., optax.GradientTransformationExtraArgs]
    theirs: Callable[..., optax.GradientTransformation]
    grid: tuple[dict[str, Any], ...]

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    @property
    def typical(self) -> dict[str, Any]:
        return self.grid[-1]


# Where there is a mu_dtype, bfloat16 has the decay as it is: optax rounds that too.
TABLE = (
    Case("sgd", optim.sgd, optax.sgd, ({"learning_rate": 0.1},)),
    Case(
        "momentum",
        optim.momentum,
        lambda learning_rate, momentum=0.9: optax.sgd(learning_rate, momentum),
        (
            {"learning_rate": 0.1},
            {"learning_rate": 0.01, "momentum": 0.99},
        ),
    ),
    Case(
        "average momentum",
        functools.partial(optim.momentum, form="average"),
        lambda learning_rate, momentum=0.9: optax.chain(
            optax.scale(1 - momentum),
            optax.trace(momentum),
            optax.scale_by_learning_rate(learning_rate),
        ),
        ({"learning_rate": 0.1}, {"learning_rate": 1.0, "momentum": 0.99}),
    ),
    Case(
        "classical momentum",
        functools.partial(optim.momentum, form="classical"),
        lambda learning_rate, momentum=0.9: optax.chain(
            optax.scale_by_learning_rate(learning_rate), optax.trace(momentum)
        ),
        ({"learning_rate": 0.1}, {"learning_rate": 0.01, "momentum": 0.99}),
    ),
    Case(
        "nesterov",
        optim.nesterov,
        lambda learning_rate, momentum=0.9: optax.sgd(learning_rate, momentum, nesterov=True),
        ({"learning_rate": 0.1}, {"learning_rate": 0.01, "momentum": 0.5}),
    ),
    Case(
        "rmsprop",
        optim.rmsprop,
        optax.rmsprop,
        (
            {"learning_rate": 0.01},
            {"learning_rate": 0.01, "decay": 0.99, "eps": 1e-3, "eps_in_sqrt": False},
            {"learning_rate": 0.1, "initial_scale": 1.0, "bias_correction": True},
            {"learning_rate": 0.01, "momentum": 0.9, "nesterov": True},
            {"learning_rate": 0.01, "eps": 1e-2, "centered": True, "bias_correction": True},
            {"learning_rate": 0.01, "eps": 1e-2, "centered": True, "momentum": 0.5},
        ),
    ),
    Case(
        "adagrad",
        optim.adagrad,
        optax.adagrad,
        (
            {"learning_rate": 0.1},
            {"learning_rate": 0.01, "initial_accumulator_value": 0.0, "eps": 1e-3},
        ),
    ),
    Case(
        "adadelta",
        optim.adadelta,
        optax.adadelta,
        ({"learning_rate": 1.0}, {"learning_rate": 0.5, "rho": 0.95, "eps": 1e-3}),
    ),
    Case(
        "adam",
        optim.adam,
        optax.adam,
        (
            {"learning_rate": 1e-3},
            {"learning_rate": 0.1, "b1": 0.0, "b2": 0.0, "eps": 1e-3},
            {"learning_rate": 0.1, "b1": 0.5, "mu_dtype": jnp.bfloat16},
            {"learning_rate": 0.1, "b1": 0.5, "mu_dtype": "float32"},
            {"learning_rate": 0.01, "b1": 0.5, "b2": 0.9, "eps_root": 1e-4},
        ),
    ),
    Case(
        "adamw",
        optim.adamw,
        optax.adamw,
        (
            {"learning_rate": 1e-3},
            {"learning_rate": 0.1, "b1": 0.5, "mu_dtype": "bfloat16"},
            {"learning_rate": 0.1, "b1": 0.8, "b2": 0.99, "weight_decay": 0.1},
        ),
    ),
    Case(
        "nadam",
        optim.nadam,
        optax.nadam,
        (
            {"learning_rate": 1e-3},
            {"learning_rate": 0.1, "b1": 0.5, "mu_dtype": "bfloat16"},
            {"learning_rate": 0.1, "b1": 0.5, "b2": 0.9, "eps_root": 1e-4},
        ),
    ),
    Case(
        "amsgrad",
        optim.amsgrad,
        lambda learning_rate, b1=0.9, b2=0.999, eps_root=0.0, mu_dtype=None, bias_correction=True: (
            optax.amsgrad(
                learning_rate,
                b1=b1,
                b2=b2,
                eps_root=eps_root,
                mu_dtype=mu_dtype,
                bias_correction_mu=bias_correction,
                bias_correction_nu=bias_correction,
            )
        ),
        (
            {"learning_rate": 1e-3},
            {"learning_rate": 0.1, "b1": 0.5, "mu_dtype": "bfloat16"},
            {"learning_rate": 0.1, "b2": 0.9, "eps_root": 1e-4, "bias_correction": False},
        ),
    ),
    Case(
        "lion",
        optim.lion,
        optax.lion,
        (
            {"learning_rate": 1e-3},
            {"learning_rate": 0.01, "b1": 0.5, "b2": 0.5, "mu_dtype": "bfloat16"},
            {"learning_rate": 0.01, "b1": 0.5, "weight_decay": 0.1},
        ),
    ),
    Case(
        "lamb",
        optim.lamb,
        optax.lamb,
        ({"learning_rate": 1e-3}, {"learning_rate": 0.1, "b2": 0.9, "weight_decay": 0.1}),
    ),
    Case(
        "muon",
        optim.muon,
        optax.contrib.muon,
        (
            {"learning_rate": 1e-3, "adam_learning_rate": 0.1, "adam_weight_decay": 0.1},
            {"learning_rate": 0.1, "beta": 0.5, "adam_b1": 0.5, "mu_dtype": "bfloat16"},
            {
                "learning_rate": 0.1,
                "beta": 0.5,
                "weight_decay": 0.1,
                "ns_steps": 3,
                "nesterov": False,
            },
        ),
    ),
)

every_case = pytest.mark.parametrize("case", TABLE, ids=str)
# For what is around an optimizer: two without `slow`, with one moment and with two.
typical_case = pytest.mark.parametrize(
    "case",
    [
        case if case.name in ("momentum", "adam") else pytest.param(case, marks=pytest.mark.slow)
        for case in TABLE
    ],
    ids=str,
)


def random_tree(seed: int, *leading: int) -> dict[str, Any]:
    """Dictionaries, lists and tuples, empty ones too; both dtypes; scalar and empty leaves."""
    rng = np.random.default_rng(seed)

    def leaf(dtype: str, *shape: int) -> jax.Array:
        scales = 10.0 ** np.linspace(-2, 1, math.prod(shape)).reshape(shape)
        return jnp.asarray(np.asarray(scales * rng.normal(size=(*leading, *shape))).astype(dtype))

    return {
        "conv": {"kernel": leaf("float32", 2, 2, 3), "bias": leaf("bfloat16", 5)},
        "empty": {"tuple": (), "dict": {}, "none": None},
        "list": [leaf("float32"), (leaf("float32", 0, 3, 1),), leaf("float32", 2, 5)],
    }


PARAMS, GRADS, FEW = random_tree(0), random_tree(1, STEPS), random_tree(2, 2)


def only(dtype: str, tree: Any) -> Any:
    """The leaves of one dtype; None where another stood."""
    return jax.tree.map(lambda leaf: leaf if leaf.dtype == dtype else None, tree)


def train(
    optimizers: Iterable[Any], promotion: str, params: Any = PARAMS, grads: Any = GRADS
) -> list[Any]:
    """Where each optimizer is after all the updates, and their sum; in one compiled program.

    The carry of the scan keeps every dtype and the structure of the state stable.
    """

    def run(optimizer):
        def step(carry, grad):
            params, state, moved = carry
            updates, state = optimizer.update(grad, state, params)
            params, moved = (optax.apply_updates(tree, updates) for tree in (params, moved))
            return (params, state, moved), None

        start = (params, optimizer.init(params), jax.tree.map(jnp.zeros_like, params))
        (end, _, moved), _ = jax.lax.scan(step, start, grads)
        return {"params": end, "moved": moved}

    with jax.numpy_dtype_promotion(promotion):
        return jax.jit(lambda: [run(optimizer) for optimizer in optimizers])()


@functools.cache
def references(case: Case) -> list[Any]:
    """What optax does with the case's grid, its numbers given as Python numbers."""
    return train([case.theirs(**setting) for setting in case.grid], "standard")


def assert_close(ours: Any, theirs: Any) -> None:
    """‖difference‖ ≤ 1e-6 ‖theirs‖ in float32, 4 units in the last place in bfloat16, each leaf."""
    chex.assert_trees_all_equal_structs(ours, theirs)
    chex.assert_trees_all_equal_shapes_and_dtypes(ours, theirs)
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        tolerance = 1e-6 if a.dtype == jnp.float32 else 4 * float(jnp.finfo(a.dtype).eps)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b), jax.tree_util.keystr(path)


@every_case
def test_equals_optax(case):
    ours = train([case.ours(**setting) for setting in case.grid], "strict")
    assert_close(ours, references(case))


@typical_case
def test_equals_optax_inside_its_wrappers(case):
    """Chained behind clipping, masked, on a schedule, and every second gradient accumulated."""

    def wrapped(factory, schedule, clipping):
        optimizer = factory(**{**case.typical, "learning_rate": schedule})
        mask = {"conv": True, "empty": True, "list": [False, True, True]}
        chained = optax.chain(clipping, optax.masked(optimizer, mask))
        return optax.MultiSteps(chained, every_k_schedule=2)

    theirs = optax.warmup_cosine_decay_schedule(0.0, 0.1, 5, 40, end_value=0.01)
    ours = optim.warmup_cosine(0.1, 40, warmup_steps=5, end_value=0.01)
    both = [
        wrapped(case.ours, ours, optim.clip(1.5)),
        wrapped(case.theirs, theirs, optax.clip(1.5)),
    ]
    assert_close(*train(both, "standard"))  # MultiSteps promotes


@typical_case
def test_float32_hyperparameters_can_be_injected(case):
    def injected(factory):
        static = {"ns_steps"} & set(inspect.signature(factory).parameters)
        wrap = optax.inject_hyperparams(factory, static, hyperparam_dtype=jnp.float32)
        return wrap(**case.typical)

    # Under float32 hyperparameters optax itself turns bfloat16 updates and moments to float32,
    # which no scan can carry. Ours stay as they are, and do what Python numbers do.
    with jax.numpy_dtype_promotion("standard"):  # inject_hyperparams looks for the widest leaf
        hyperparams = injected(case.ours).init(PARAMS).hyperparams
    assert all(value.dtype == jnp.float32 for value in hyperparams.values())
    (ours,) = train([injected(case.ours)], "standard")
    assert_close(only("bfloat16", ours), only("bfloat16", references(case)[-1]))
    wide = only("float32", PARAMS), only("float32", GRADS)
    (theirs,) = train([injected(case.theirs)], "standard", *wide)
    assert_close(only("float32", ours), theirs)


@typical_case
def test_eager_updates_are_the_compiled_ones(case):
    """In two leaves of two dtypes: eager, each operation on each shape is compiled by itself."""
    start, grads = (
        {"kernel": tree["list"][2], "bias": tree["conv"]["bias"]} for tree in (PARAMS, FEW)
    )
    optimizer, params = case.ours(**case.typical), start
    state = optimizer.init(params)
    for i in range(2):
        now = {name: leaf[i] for name, leaf in grads.items()}
        updates, state = optimizer.update(now, state, params, value=1.0, ignored=None)
        params = optax.apply_updates(params, updates)
    (theirs,) = train([case.theirs(**case.typical)], "standard", start, grads)
    assert_close(params, theirs["params"])


@typical_case
def test_is_traced_once(case):
    optimizer = case.ours(**{**case.typical, "learning_rate": optim.constant(0.1)})
    grads = jax.tree.map(lambda leaf: leaf[0], GRADS)
    state, params = optimizer.init(PARAMS), PARAMS
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(params, state):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(3):
        params, state = step(params, state)
    counts = [count for _, count in optax.tree.get_all_with_path(state, "count")]
    assert counts
    assert all(count == 3 for count in counts)


@every_case
def test_state_is_known_to_optax(case):
    """Its leaves that mirror the parameters are found, and the fields carry optax's names."""
    optimizer, theirs = case.ours(**case.typical), case.theirs(**case.typical)
    state = optimizer.init(PARAMS)
    for field in ("mu", "nu", "nu_max", "trace", "sum_of_squares", "e_g", "e_x"):
        found, expected = (
            [leaf for _, leaf in optax.tree.get_all_with_path(tree, field)]
            for tree in (state, theirs.init(PARAMS))
        )
        chex.assert_trees_all_equal(found, expected)
    marked = optax.tree_map_params(optimizer, lambda _: "like a parameter", state)
    moments = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype != jnp.int32]
    assert jax.tree.leaves(marked).count("like a parameter") == len(moments)


@pytest.mark.parametrize("factory", [optim.adamw, optim.lion, optim.lamb, optim.muon])
@pytest.mark.parametrize(
    "mask",
    [
        "list/2",
        {"conv": False, "empty": False, "list": [False, False, True]},
        lambda params: jax.tree.map(lambda leaf: leaf.ndim == 2, params),
    ],
    ids=["a glob", "booleans", "a function"],
)
def test_state_is_known_to_optax_under_a_mask(factory, mask):
    optimizer = factory(0.1, mask=mask)
    state = optimizer.init(PARAMS)
    marked = optax.tree_map_params(optimizer, lambda _: "like a parameter", state)
    moments = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype != jnp.int32]
    assert jax.tree.leaves(marked).count("like a parameter") == len(moments) > 0


def parabola(params: dict[str, jax.Array]) -> jax.Array:
    return jnp.sum(jnp.asarray([1.0, 10.0]) * (params["w"].ravel() - jnp.asarray([3.0, -2.0])) ** 2)


def rosenbrock(params: dict[str, jax.Array]) -> jax.Array:
    x, y = params["w"].ravel()
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


RATES = {
    "sgd": 2e-3,
    "momentum": 5e-4,
    "average momentum": 5e-3,
    "classical momentum": 5e-4,
    "nesterov": 5e-4,
    "rmsprop": 0.02,
    "adagrad": 0.5,
    "adadelta": 1.0,
    "adam": 0.1,
    "adamw": 0.1,
    "nadam": 0.1,
    "amsgrad": 0.3,
    "lion": 0.01,
    "lamb": 0.02,
    "muon": 0.02,
}


@every_case
@pytest.mark.parametrize(("loss", "minimum"), [(parabola, (3.0, -2.0)), (rosenbrock, (1.0, 1.0))])
def test_converges(case, loss, minimum):
    steps = 20_000
    extra = {"weight_decay": 0.0} if case.name in ("adamw", "lion") else {}  # it moves the minimum
    optimizer = case.ours(optim.warmup_cosine(RATES[case.name], steps), **extra)

    def step(_, carry):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    params = {"w": jnp.asarray([[-1.2, 1.0]])}  # a matrix, for muon
    start = (params, optimizer.init(params))
    params, _ = jax.jit(lambda start: jax.lax.fori_loop(0, steps, step, start))(start)
    np.testing.assert_allclose(params["w"].ravel(), minimum, atol=1e-2)
