from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

from experiments.speed import _compare, _networks, bench
from experiments.speed.peers import DLCORE, PEERS, dlcore_fit

FEW = {"batch": 8, "steps": 3}


def is_quick(label, name):
    """C++ takes its compiler some seconds."""
    return name == "playground" and not PEERS[label].needs_compiler


PAIRS = [
    pytest.param(label, name, marks=() if is_quick(label, name) else pytest.mark.slow)
    for label in PEERS
    if label != DLCORE
    for name in _networks.NETWORKS
]
LEFT_OUT = {("Equinox", "resnet20")} | {
    ("scikit-learn", name) for name in ("lenet5", "resnet20", "vae", "gpt", "lstm")
}
TEXTS = {
    "gpt": _networks.Text(8, 16, layers=2, heads=2),
    "lstm": _networks.Text(8, 4, hidden=6),
}


@pytest.fixture(scope="module")
def small():
    """The networks on few examples, of ResNet one block a stage, texts' in small."""
    with pytest.MonkeyPatch.context() as patch:
        for name, network in _networks.NETWORKS.items():
            # L2 strong enough to be seen, at a rate that rounding survives.
            strong = {"rate": 0.01, "l2": 1.0} if network.l2 else {}
            patch.setitem(_networks.NETWORKS, name, network._replace(**FEW, **strong))
        patch.setitem(dlcore_fit.MODELS, "resnet20", lambda: dlcore_fit.models.resnet_cifar(8))
        for name, text in TEXTS.items():
            patch.setitem(_networks.TEXTS, name, text)
        patch.setenv("KERAS_BACKEND", "jax")
        yield patch


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """A peer's parameters and mean losses on a network: of the first step, of the other two."""
    folders, known = {}, {}

    def train(label, name):
        if (label, name) in known:
            return known[label, name]
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            _compare.write(name, folders[name])
        peer = importlib.import_module(f"experiments.speed.peers.{PEERS[label].module}")
        if name not in peer.MODELS:
            return None
        home = sys.modules.get(getattr(peer.MODELS[name], "__module__", ""))
        if hasattr(home, "STAGES"):
            small.setattr(home, "STAGES", tuple(stage[:1] for stage in _networks.STAGES))
        data = peer.ready(folders[name])
        parameters, turns = peer.start(name, _networks.places(folders[name]), data)
        losses = [np.mean([float(loss) for loss in next(turns)]) for _ in range(2)]
        known[label, name] = parameters, losses
        return known[label, name]

    return train


@pytest.mark.filterwarnings(  # torch.compile's own
    "ignore:.*:DeprecationWarning:torch", "ignore:The .grad attribute:UserWarning"
)
@pytest.mark.parametrize(("label", "name"), PAIRS)
def test_a_peer_trains_the_same_network(label, name, trained, standard_promotion):
    if lacking := bench._lacking(PEERS[label]):
        pytest.skip(f"skipped, because {lacking} is not installed")
    found = trained(label, name)
    if found is None:
        assert (label, name) in LEFT_OUT
        return
    parameters, losses = found
    wanted, own = trained(DLCORE, name)
    assert parameters == wanted
    # The VAE's noise differs, and so does what 3 batches of 8 make of it.
    assert losses == pytest.approx(own, rel=0.05 if name == "vae" else 1e-4)
