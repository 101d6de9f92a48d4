"""The variational autoencoder: one network gives a distribution of the code, one of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import nn
from dlcore.checks import one_of
from dlcore.keys import Key
from dlcore.models._dense import check_widths, dense, taking
from dlcore.models._label import labelled
from dlcore.models._model import model
from dlcore.models.linear import size
from dlcore.nn.init import he_normal
from dlcore.nn.layer import Params, State, check_sizes

Likelihood = Literal["bernoulli", "gaussian", "grey"]


@model
def vae(
    inputs: int | Sequence[int] = (28, 28, 1),
    hidden: Sequence[int] = (500, 500),
    latent: int = 40,
    *,
    likelihood: Likelihood = "bernoulli",
    activation: Callable[[Any], Any] | nn.Layer = F.relu,
) -> nn.Layer:
    """q(z|x) = N(mean, σ²) by the encoder, p(x|z) by the decoder, which mirrors it; p(z) = N(0, 1).

    | part    | layers, by default                                | gives       | parameters |
    |---------|---------------------------------------------------|-------------|------------|
    | encoder | flatten, linear 500, 500 with relu, linear 2 · 40 | Gaussian    |    683,080 |
    | decoder | linear 500, 500 with relu, linear 784             | Bernoulli   |    663,784 |

    1,346,864 parameters. The layer's own output is the decoder's: the distribution of x
    [B, *inputs] given the code's mean, in training given a code drawn from q; its `.mean` is the
    reconstruction. It is trained by `train.variational(layer)`, and used by `generate.vae`.

    likelihood: "bernoulli" of pixels 0 or 1 (`data.binarised`); "gaussian" of any numbers, with one
        variance for all, learned (Rybkin et al. 2021); "grey" of values in [0, 1] by cross-entropy,
        which is no likelihood.

    Kingma and Welling 2014, appendix C, with more layers and relu.
    """
    return _vae("vae", inputs, hidden, latent, 0, likelihood, activation)


@model
def conditional_vae(
    inputs: int | Sequence[int] = (28, 28, 1),
    hidden: Sequence[int] = (500, 500),
    latent: int = 40,
    classes: int = 10,
    *,
    likelihood: Likelihood = "bernoulli",
    activation: Callable[[Any], Any] | nn.Layer = F.relu,
) -> nn.Layer:
    """`vae` of which encoder and decoder know the side input `label` [B]: q(z|x, y) and p(x|z, y).

    Beside x and beside z stands the label as one 1 among `classes` zeros, so that the code need not
    tell what the label says. 1,356,864 parameters by default.

    Sohn et al. 2015, with p(z) for p(z|y); Kingma et al. 2014, M2 without its
    classifier.
    """
    check_sizes("conditional_vae", classes=classes)
    return _vae("conditional_vae", inputs, hidden, latent, classes, likelihood, activation)


def _vae(
    name: str,
    inputs: int | Sequence[int],
    hidden: Sequence[int],
    latent: int,
    classes: int,
    likelihood: str,
    activation: Callable[[Any], Any] | nn.Layer,
) -> nn.Layer:
    check_widths(name, hidden=hidden)
    check_sizes(name, latent=latent)
    known: dict[str, Any] = {
        "bernoulli": bernoulli,
        "gaussian": _with_variance(),
        "grey": grey_bernoulli,
    }
    distribution = one_of(name, "likelihood", likelihood, known)
    given = [labelled(classes)] if classes else []
    down = [size(inputs) + classes, *hidden]
    up = [latent + classes, *hidden[::-1]]
    how = {"kernel_init": he_normal()}
    encoder = nn.serial(
        nn.flatten,
        *given,
        *dense(down, activation, **how),
        nn.linear(down[-1], 2 * latent),
        gaussian,
    )
    decoder = nn.serial(
        *given,
        *dense(up, activation, **how),
        nn.linear(up[-1], size(inputs)),
        nn.unflatten(inputs),
        distribution,
    )
    forward = _conditional if classes else _plain
    return nn.wire(forward, encoder=taking(inputs, encoder), decoder=decoder)


def _plain(parts: Any, x: jax.Array, *, key: Any, train: bool) -> Any:
    return parts.decoder(_code(parts.encoder(x), key, train))


def _conditional(parts: Any, x: jax.Array, *, key: Any, train: bool, label: jax.Array) -> Any:
    return parts.decoder(_code(parts.encoder(x, label=label), key, train), label=label)


def _code(q: F.Gaussian, key: Key | None, train: bool) -> jax.Array:
    """z ~ q in training, its mean in evaluation."""
    if not train:
        return q.mean
    if key is None:
        raise ValueError("a vae draws its code in training: apply(…, key=key, train=True)")
    return q.sample(key)


def gaussian(h: jax.Array) -> F.Gaussian:
    """[B, 2 · L]: the mean, and the logarithm of the variance."""
    return F.Gaussian(*jnp.split(h, 2, axis=-1))


def bernoulli(logits: jax.Array) -> F.Bernoulli:
    """[B, …] as the logits of pixels 0 or 1."""
    return F.Bernoulli(logits)


def grey_bernoulli(logits: jax.Array) -> F.GreyBernoulli:
    """[B, …] as the logits of grey pixels."""
    return F.GreyBernoulli(logits)


def _with_variance() -> nn.Layer:
    """A Gaussian about x, with one variance for all numbers, which is learned and begins at 1."""

    def init(key: Key) -> tuple[Params, State]:
        return {"log_variance": jnp.zeros(())}, ()

    def apply(
        params: Params, state: State, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[F.Gaussian, State]:
        log_variance = params["log_variance"].astype(x.dtype)
        return F.Gaussian(x, jnp.broadcast_to(log_variance, x.shape)), state

    return nn.make("gaussian", init, apply)
