"""A prompt goes in, and a network that `characters` has trained writes on, letter by letter.

    python -m experiments write "JULIET:" --weights runs/characters/lstm.safetensors

The network and its tokens are data in the weights' file. What is written appears as it is drawn.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import tyro

from dlcore import data, generate, models, nn
from dlcore.data import DataError
from dlcore.generate.choice import Rules, check
from dlcore.interop import weights
from experiments.choice import BadInput, at_least
from experiments.frame import Figure, Result, Table

CLAIMS = ()


@dataclasses.dataclass(frozen=True)
class Config:
    """What is written on, by which network, and how its tokens are chosen."""

    prompt: Annotated[str, tyro.conf.Positional] = "ROMEO:"
    """The text that it begins with."""
    weights: Path = Path("runs/characters/lstm.safetensors")
    """What `python -m experiments characters` wrote."""
    tokens: int = 500
    """So many are written; a network with a context ends where that does."""
    temperature: float = 0.8
    """Below 1 what is probable becomes more so; 0 takes the most probable token."""
    top_k: int | None = None
    """Only so many of the most probable tokens are left."""
    top_p: float | None = None
    """Only the fewest that have this probability together."""
    min_p: float | None = None
    """Only those at least so many times as probable as the most probable one."""
    repetition_penalty: float | None = None
    """Above 1 what was there already becomes less probable."""
    seed: int = 0
    """Of the draws."""

    def __post_init__(self) -> None:
        at_least(1, tokens=self.tokens)
        at_least(0, seed=self.seed)
        if not self.prompt:
            raise BadInput("the prompt needs a token at least")
        try:
            check("write", self.rules)
        except ValueError as error:
            raise BadInput(str(error)) from None

    @property
    def rules(self) -> Rules:
        """How a token is chosen."""
        return Rules(self.temperature, self.top_k, self.top_p, self.min_p, self.repetition_penalty)


class Measured(NamedTuple):
    """What was written, in how many tokens, by what."""

    text: str
    tokens: int
    network: str


def run(config: Config) -> Measured:
    """Writes, and shows each token at once."""
    layer, params, state = models.load(config.weights)
    tokens = tokenizer(config.weights)
    try:
        prompt = tokens.encode(config.prompt)[None]
    except DataError as error:
        raise BadInput(f"the prompt: {error}") from None
    steps = room(layer, prompt.shape[1], config.tokens)
    how: dict[str, Any] = {"key": jax.random.key(config.seed), **config.rules._asdict()}
    drawn: list[int] = []
    shown = config.prompt
    _show(shown)
    for token in generate.stream(layer, params, state, prompt, steps, **how):
        drawn.append(token)
        text = config.prompt + tokens.decode(drawn)
        if not text.endswith("\ufffd"):  # the first bytes of a letter
            _show(text[len(shown) :])
            shown = text
    _show("\n\n")
    return Measured(config.prompt + tokens.decode(drawn), len(drawn), layer.info.kind)


def tokenizer(path: Path) -> data.Tokenizer:
    """The one in the metadata of a weights file."""
    described = weights.load(path)[1].get("tokenizer")
    if not isinstance(described, dict):
        raise BadInput(f"{path}: holds no tokenizer, as the weights of a language model do")
    return data.tokenizer(described)


def room(layer: nn.Layer, prompt: int, tokens: int) -> int:
    """How many tokens can follow a prompt of so many."""
    context = layer.info.config.get("context")
    if context is None:
        return tokens
    if prompt > context:
        raise BadInput(f"the prompt has {prompt} tokens, the {layer.info.kind} reads {context}")
    return min(tokens, context + 1 - prompt)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def figures(result: Result[Measured]) -> tuple[()]:
    """None: what is written is not claimed."""
    return ()


def table(result: Result[Measured]) -> Table:
    """By what, and how much; the text itself has been shown."""
    measured = result.measured
    rate = measured.tokens / max(result.seconds, 1e-9)
    line = (measured.network, measured.tokens, f"{rate:.0f}")
    return [("network", "tokens written", "a second, compiling too"), line]


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """None."""
    return {}
