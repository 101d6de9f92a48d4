"""A network that reads a text character by character learns to spell, and to write more of it.

Tiny Shakespeare: a million characters to learn, the last 111,540 to measure, in nats a character of
all of them. A 5-gram counts; a recurrent network, an LSTM and a GPT learn with the same compute,
that of 2,000 steps of nanoGPT's setting for a CPU (4 layers, 128 wide, context 64, batch 12). All
read windows of 64 characters, each from zero; the LSTM also goes on from window to window.

Lecture B: language models; Karpathy 2015 and 2022 (nanoGPT), Hochreiter and Schmidhuber 1997.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from dlcore import data, flops, generate, models, nn, optim, train, tree
from experiments.choice import BadInput, at_least, one_of
from experiments.frame import Claim, DataConfig, Figure, Result, Table
from experiments.sequences import _ngram

LENGTH = 64  # characters of a window
ORDER = 5
NAMES = ("RNN", "LSTM", "GPT")
CLAIMS = (
    Claim("5-gram (Witten–Bell), nats a character", "≤ 1.7", "Witten and Bell 1991"),
    Claim("GPT with nanoGPT's setting for a CPU, nats a character", "≤ 1.93", "Karpathy 2022"),
    Claim("RNN − LSTM, the same compute", "> 0", "Hochreiter and Schmidhuber 1997"),
    Claim("GPT − LSTM, the same compute", "> 0", "measured in a prototype"),
    Claim("LSTM: each window from zero − going on", "> 0", "lecture B"),
)


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    networks: tuple[str, ...] = NAMES
    """Which of them are trained."""
    compute: float = 8.133e12
    """Floating-point operations of each network's training."""
    layers: int = 4
    """Of the GPT."""
    seeds: int = 1
    """Each is trained from so many; figures are means."""
    characters: int | None = None
    """So many of the text are learned and measured; by default all."""
    prompt: str = "ROMEO:"
    """What each network goes on with."""
    written: int = 200
    """So many characters are written after it."""

    def __post_init__(self) -> None:
        at_least(1, layers=self.layers, seeds=self.seeds, written=self.written)
        at_least(1e6, compute=self.compute)
        if self.characters is not None:
            at_least(10 * LENGTH, characters=self.characters)
        for name in self.networks:
            one_of("network", name, NAMES)
        if not self.prompt:
            raise BadInput("prompt needs a character at least")


SMOKE = Config(compute=1e8, layers=1, characters=2_000, written=5)


class Network(NamedTuple):
    """A network, its batch, and its optimizer for so many steps."""

    layer: nn.Layer
    batch: int
    optimizer: Callable[[int], optax.GradientTransformation]


class Arm(NamedTuple):
    """What came of one network; figures are means over the seeds."""

    name: str
    parameters: int
    steps: int
    curve: list[tuple[float, float]]  # operations, training loss
    loss: float
    carried: float | None  # going on from window to window, where it remembers so
    text: str


class Measured(NamedTuple):
    """The networks, and the loss of the 5-gram."""

    arms: list[Arm]
    ngram: float


def networks(characters: int, layers: int) -> dict[str, Network]:
    """The three, for so many different characters; `layers` of the GPT."""
    gpt = models.gpt(characters, LENGTH, features=128, heads=4, layers=layers)
    return {
        "RNN": Network(models.rnn_lm(characters), 32, recurrent),
        "LSTM": Network(models.lstm_lm(characters), 32, recurrent),
        "GPT": Network(gpt, 12, nanogpt),
    }


def recurrent(steps: int) -> optax.GradientTransformation:
    """Adam, with a rate that rises for a twentieth of the steps and falls to a tenth."""
    rate = optim.warmup_cosine(4e-3, steps, warmup_steps=steps // 20, end_value=4e-4)
    return optax.chain(optim.clip_by_global_norm(1.0), optim.adam(rate))


def nanogpt(steps: int) -> optax.GradientTransformation:
    """As in its train.py, with the flags that its README gives for a CPU."""
    rate = optim.warmup_cosine(1e-3, steps, warmup_steps=steps // 20, end_value=1e-4)
    decays = functools.partial(jax.tree.map, lambda leaf: leaf.ndim > 1)
    adam = optim.adamw(rate, b2=0.99, weight_decay=0.1, mask=decays)
    return optax.chain(optim.clip_by_global_norm(1.0), adam)


def run(config: Config) -> Measured:
    """Counts, then trains each network."""
    corpus = data.tiny_shakespeare(config.root)
    letters = data.characters(corpus.train + corpus.validation)
    missing = sorted(set(config.prompt) - set(letters.tokens))
    if missing:
        raise BadInput(f"prompt has {missing[0]!r}, which the text has not")
    learned, measured = (
        letters.encode(text)[: config.characters] for text in (corpus.train, corpus.validation)
    )
    counts = _ngram.fit(learned, len(letters), ORDER)
    ngram = -float(_ngram.log_likelihood(counts, measured).mean())
    arms = [
        train_arm(name, network, learned, measured, letters, config)
        for name, network in networks(len(letters), config.layers).items()
        if name in config.networks
    ]
    return Measured(arms, ngram)


def train_arm(
    name: str,
    network: Network,
    learned: np.ndarray,
    measured: np.ndarray,
    letters: data.Tokenizer,
    config: Config,
) -> Arm:
    """One network, from each seed."""
    layer = network.layer
    objective = train.classification(layer)
    windows = data.HostData(data.windows(learned, LENGTH, stride=1))
    cost = operations(network, objective, windows.gather(np.arange(network.batch)))
    steps = max(1, round(config.compute / cost))
    optimizer = network.optimizer(steps)
    step = train.make_step(objective, optimizer)
    curves, losses, carried = [], [], []
    for seed in range(config.seeds):
        state = train.train_state(layer, optimizer, seed=seed)
        state, curve = trained(step, state, windows, network.batch, steps)
        curves.append(curve)
        losses.append(loss_of(objective, state, measured))
        if name != "GPT":  # whose memory ends with its context
            carried.append(loss_of(objective, state, measured, nn.memory(layer, 1)))
    if config.out is not None:
        path = config.out / f"{name.lower()}.safetensors"
        described = {"tokenizer": letters.description}
        models.save(path, layer, state.params, state.state, described)
    return Arm(
        name,
        tree.count(state.params),
        steps,
        [(at * cost, loss) for at, loss in np.mean(curves, axis=0)],
        float(np.mean(losses)),
        float(np.mean(carried)) if carried else None,
        written(layer, state, letters, config),
    )


def operations(network: Network, objective: train.Objective, batch: dict[str, np.ndarray]) -> int:
    """Floating-point operations of a step."""
    optimizer = network.optimizer(2)
    state = train.train_state(network.layer, optimizer, seed=0)
    return flops.count(train.make_step(objective, optimizer), state, batch)


def trained(
    step: train.Step, state: train.TrainState, windows: data.HostData, batch: int, steps: int
) -> tuple[train.TrainState, list[tuple[int, float]]]:
    """The state after `steps`, and some twenty points of the training loss on the way.

    A record's loss is the mean since its epoch began; a point is that since the point before.
    """
    epochs = -(-steps // data.batches_per_epoch(len(windows), batch))
    every = max(1, steps // 20)
    curve, began, before, total = [], 0, 0, 0.0
    for record in train.fit(step, state, windows, epochs=epochs, batch_size=batch, every=every):
        inside = record.step - began
        whole = inside * float(record.metrics["loss"])
        curve.append((record.step, (whole - total) / (inside - before)))
        before, total = inside, whole
        if record.ends_epoch:
            began, before, total = record.step, 0, 0.0
        state = record.state
        if record.step >= steps:
            break
    return state, curve


def loss_of(
    objective: train.Objective, state: train.TrainState, text: np.ndarray, memory: Any = ()
) -> float:
    """Nats a character of the whole text: each window from zero, or all from a memory on."""
    windows = data.windows(text, LENGTH, padding=0)
    how: dict[str, Any] = {"carry": memory, "order": data.streams} if memory else {}
    return float(train.evaluate(objective, state.params, state.state, windows, **how)["loss"])


def written(
    layer: nn.Layer, state: train.TrainState, letters: data.Tokenizer, config: Config
) -> str:
    """What the network writes after the prompt, at a temperature of 0.8."""
    steps, context = config.written, layer.info.config.get("context")
    prompt = letters.encode(config.prompt)[None]
    if context is not None:
        steps = min(steps, context + 1 - prompt.shape[1])
    how: dict[str, Any] = {"key": jax.random.key(0), "temperature": 0.8}
    drawn = generate.sample(layer, state.params, state.state, prompt, steps, **how)
    return config.prompt + letters.decode(drawn.tokens[0])


def figures(result: Result[Measured]) -> list[float | None]:
    """The losses, and what lies between them."""
    arms = {arm.name: arm for arm in result.measured.arms}
    rnn, lstm, gpt = (arms[name].loss if name in arms else None for name in NAMES)
    carried = arms["LSTM"].carried if "LSTM" in arms else None
    return [
        result.measured.ngram,
        gpt,
        None if rnn is None or lstm is None else rnn - lstm,
        None if gpt is None or lstm is None else gpt - lstm,
        None if lstm is None or carried is None else lstm - carried,
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each network, and what they write."""
    head = ("model", "parameters", "updates", "nats a character", "going on", "perplexity")
    lines: list[tuple[Any, ...]] = [
        (
            arm.name,
            arm.parameters,
            arm.steps,
            f"{arm.loss:.4f}",
            "" if arm.carried is None else f"{arm.carried:.4f}",
            f"{np.exp(arm.loss):.2f}",
        )
        for arm in result.measured.arms
    ]
    ngram = result.measured.ngram
    lines.append((f"{ORDER}-gram", "", "", f"{ngram:.4f}", "", f"{np.exp(ngram):.2f}"))
    texts = [(arm.name, arm.text) for arm in result.measured.arms]
    return {"Validation": [head, *lines], "Written": [("model", "text"), *texts]}


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """How the training loss falls with compute, beside the 5-gram's on validation."""
    from dlcore import plot

    lines = {arm.name: tuple(zip(*arm.curve, strict=True)) for arm in result.measured.arms}
    whole = max(arm.curve[-1][0] for arm in result.measured.arms)
    ngram = result.measured.ngram
    lines[f"{ORDER}-gram, validation"] = ((0.0, whole), (ngram, ngram))
    panel = plot.Panel(
        "Tiny Shakespeare", "floating-point operations", "training loss, nats a character", lines
    )
    return {"loss": plot.lines(panel)}
