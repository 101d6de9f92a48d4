"""The peers: one file each, which trains its networks as the library's own documentation does.

    MODELS                          what it has, by the network's name
    ready(folder) -> data           the batches as its own arrays, before the clock runs
    start(name, places, data) -> (number of parameters, turns)

`dlcore_fit` is the measure of them all, and reads the examples as they are.
"""

from __future__ import annotations

from typing import NamedTuple


class Peer(NamedTuple):
    """A column of the table: the option that chooses it, what must be installed, and its file.

    needs_compiler: whether it writes C++ and has it compiled.
    """

    option: str
    distribution: str
    module: str
    is_jax_framework: bool = False
    needs_compiler: bool = False


DLCORE = "dlcore fit"
PEERS = {
    DLCORE: Peer("", "dlcore", "dlcore_fit"),
    "hand-written JAX step": Peer("optax", "optax", "bare"),
    "PyTorch eager": Peer("torch", "torch", "torch_eager"),
    "torch.compile": Peer("compile", "torch", "torch_compiled", needs_compiler=True),
    "Flax NNX": Peer("flax", "flax", "flax_nnx", True),
    "Flax Linen": Peer("flax", "flax", "flax_linen", True),
    "Equinox": Peer("equinox", "equinox", "equinox_filter", True),
    "Keras on JAX": Peer("keras", "keras", "keras_jax", True),
    "scikit-learn": Peer("sklearn", "scikit-learn", "sklearn_mlp"),
}
OPTIONS = tuple(dict.fromkeys(peer.option for peer in PEERS.values() if peer.option))
