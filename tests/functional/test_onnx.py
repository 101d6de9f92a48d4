"""Attention and the recurrent networks beside ONNX's own cases of these operators."""

from __future__ import annotations

import functools
import importlib

import jax
import numpy as np
import pytest

from dlcore import functional as F

MODULES = ("rnn", "lstm", "gru", "attention")
attend = jax.jit(F.attention, static_argnames="soft_cap")
visible = jax.jit(F.visible, static_argnames=("causal", "window"))
rnn = jax.jit(F.rnn, static_argnames="reverse")
gru = jax.jit(F.gru, static_argnames=("reset", "reverse"))
lstm = jax.jit(F.lstm, static_argnames="reverse")
# What has no option here: a window that is wider on one side.
WITHOUT = {"test_attention_bidirectional_window"}


@functools.cache
def cases():
    """(operator, attributes, inputs by name, outputs by name) of each case, by its name."""
    onnx = pytest.importorskip("onnx", reason="skipped, because onnx is not installed")
    node = importlib.import_module("onnx.backend.test.case.node")
    with np.errstate(all="ignore"):  # of flags that a product in BLAS may leave behind
        for module in MODULES:
            importlib.import_module(f"onnx.backend.test.case.node.{module}")
    found = {}
    for case in node._NodeTestCases:
        nodes = case.model.graph.node
        if len(nodes) != 1 or nodes[0].op_type.lower() not in MODULES:
            continue  # written out in other operators
        (one,), (inputs, outputs) = nodes, case.data_sets[0]
        how = {each.name: onnx.helper.get_attribute_value(each) for each in one.attribute}
        given = dict(zip(filter(None, one.input), inputs, strict=True))
        wanted = dict(zip(filter(None, one.output), outputs, strict=True))
        found[case.name] = (one.op_type, how, given, wanted)
    return found


def test_there_are_cases():
    counts = [sum(op == kind for op, *_ in cases().values()) for kind in ("Attention", "LSTM")]
    assert counts[0] >= 50
    assert counts[1] >= 6


# -------------------------------------------------------------------------------------- attention


def heads(x, count):
    """[B, T, count · D] as [B, count, T, D]; four axes stay."""
    return x if x.ndim == 4 else x.reshape(*x.shape[:2], count, -1).swapaxes(1, 2)


def attention(how, given):
    """By `functional.attention`, and what of a mask, a cache and lengths is seen."""
    query, key, value = (
        heads(given[name], how.get(f"{kind}_num_heads"))
        for name, kind in (("Q", "q"), ("K", "kv"), ("V", "kv"))
    )
    before = 0
    if "past_key" in given:
        before = given["past_key"].shape[2]
        key = np.concatenate([given["past_key"], key], 2)
        value = np.concatenate([given["past_value"], value], 2)
    (steps, depth), among = query.shape[2:], key.shape[2]
    first = np.full(len(query), before)
    seen = np.ones((len(query), 1, steps, among), bool)
    if "nonpad_kv_seqlen" in given:
        lengths = given["nonpad_kv_seqlen"]
        seen = seen & (np.arange(among) < lengths[:, None])[:, None, None]
        first = lengths - steps
    window = how.get("left_window_size", -1)
    window = None if window < 0 else window + 1
    causal = bool(how.get("is_causal", 0))
    if causal or window is not None:
        places = first[:, None] + np.arange(steps)
        near = visible(places, np.arange(among), causal=causal, window=window)
        seen = seen & np.asarray(near)[:, None]
    bias = None
    if "attn_mask" in given:
        mask = given["attn_mask"]
        short = among - mask.shape[-1] if mask.shape[-1] > 1 else 0
        mask = np.pad(
            mask,
            [(0, 0)] * (mask.ndim - 1) + [(0, short)],
            constant_values=False if mask.dtype == bool else -np.inf,
        )
        if mask.dtype == bool:
            seen = seen & mask
        else:
            bias = np.asarray(mask, np.float32)
    scale = how.get("scale", 0.0) or 1 / np.sqrt(depth)
    scaled = query * np.asarray(scale * np.sqrt(depth), query.dtype)
    cap = how.get("softcap", 0.0) or None
    y = np.asarray(attend(scaled, key, value, seen, bias=bias, soft_cap=cap))
    return y if given["Q"].ndim == 4 else y.swapaxes(1, 2).reshape(*given["Q"].shape[:2], -1)


def names(op):
    try:
        return [name for name, (kind, *_) in cases().items() if kind == op and name not in WITHOUT]
    except pytest.skip.Exception:
        return []


@pytest.mark.parametrize("name", names("Attention"))
def test_attention(name):
    _, how, given, wanted = cases()[name]
    narrow = given["Q"].dtype != np.float32
    with jax.numpy_dtype_promotion("standard"):
        y = attention(how, given)
    tolerance = 2e-2 if narrow else 1e-5
    np.testing.assert_allclose(
        y.astype(np.float32), wanted["Y"].astype(np.float32), rtol=tolerance, atol=tolerance
    )


# -------------------------------------------------------------------------------------- recurrence

# ONNX has the gates i, o, f, c of an LSTM and z, r, h of a GRU, here i, f, g, o and r, u, n.
ORDER = {"RNN": (0,), "LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}


def gates(op, x):
    """[gates · H, …] with our order of the gates, and the axes turned round."""
    parts = np.split(x, len(ORDER[op]))
    return np.concatenate([parts[gate] for gate in ORDER[op]]).T


def direction(op, how, given, at, reverse):
    """hs [B, T, H] and the last h, of an LSTM also c, of one direction; the batch comes first."""
    x = given["X"] if how.get("layout") else given["X"].swapaxes(0, 1)
    kernel, recurrent = gates(op, given["W"][at]), gates(op, given["R"][at])
    z = x @ kernel
    if "B" in given:  # of the input and of the memory, which add up
        z = z + sum(gates(op, part) for part in np.split(given["B"][at], 2))
    h = np.zeros((len(x), how["hidden_size"]), np.float32)
    if op == "RNN":
        return rnn(z, recurrent, h, reverse=reverse)
    if op == "GRU":
        return gru(z, recurrent, h, reset="before", reverse=reverse)
    more = {}
    if "P" in given:
        i, o, f = np.split(given["P"][at], 3)
        more["peepholes"] = np.stack([i, f, o])
    hs, (h, c) = lstm(z, recurrent, (h, h), reverse=reverse, **more)
    return hs, h, c


@pytest.mark.parametrize("name", [one for op in ORDER for one in names(op)])
def test_recurrence(name):
    op, how, given, wanted = cases()[name]
    assert not how.get("linear_before_reset"), "no case has it: the reset gate stands before"
    ways = {b"forward": [False], b"reverse": [True], b"bidirectional": [False, True]}
    each = [
        direction(op, how, given, at, reverse)
        for at, reverse in enumerate(ways[how.get("direction", b"forward")])
    ]
    hs, *last = map(np.stack, zip(*each, strict=True))  # [directions, B, …]
    is_batch_first = how.get("layout")
    found = {"Y": hs.transpose((1, 2, 0, 3) if is_batch_first else (2, 0, 1, 3))}
    for letter, one in zip("hc", last, strict=False):
        found[f"Y_{letter}"] = one.swapaxes(0, 1) if is_batch_first else one
    for output in wanted:
        np.testing.assert_allclose(found[output], wanted[output], rtol=1e-5, atol=1e-6)
