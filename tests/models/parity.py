"""Whether a model computes what a network of torch's own layers computes."""

from __future__ import annotations

from collections import OrderedDict

import jax
import numpy as np
import torch

from dlcore import functional as F
from dlcore import interop, nn


def assert_equal_to_torch(layer, network, x, *, train=False, names=None):
    """Logits within 1e-4 of torch's, and each gradient of their cross-entropy within 1e-4 of its
    largest entry, or of 1, when x is float32; in float64 within 1e-8.

    Where there are several logits, those after the first count 0.3. In training also the running
    means are compared, and nothing is dropped in either.
    """
    tolerance = 1e-4 if x.dtype == np.float32 else 1e-8
    params, state = jax.tree.map(
        lambda leaf: leaf.astype(x.dtype),
        interop.from_torch(layer, network.state_dict(), names=names),
    )
    labels = np.arange(len(x)) % 3
    apply = without_dropout(layer).apply

    @jax.jit
    def gradient(params):
        def loss(params):
            outputs, new_state = apply(params, state, x, train=train)
            losses = [F.cross_entropy(logits, labels) for logits in listed(outputs)]
            return losses[0] + 0.3 * sum(losses[1:]), (outputs, new_state)

        return jax.grad(loss, has_aux=True)(params)

    gradients, (outputs, new_state) = gradient(params)

    network.to(torch.tensor(x).dtype).train(train)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    wanted = network(torch.tensor(x.transpose(0, 3, 1, 2).copy()))
    losses = [
        torch.nn.functional.cross_entropy(logits, torch.tensor(labels)) for logits in listed(wanted)
    ]
    (losses[0] + 0.3 * sum(losses[1:])).backward()

    def assert_close(given, wanted, name):
        atol = tolerance * max(1, abs(wanted).max())
        np.testing.assert_allclose(given, wanted, rtol=tolerance, atol=atol, err_msg=name)

    for ours, theirs in zip(listed(outputs), listed(wanted), strict=True):
        assert_close(ours, theirs.detach().numpy(), "logits")
    given = interop.to_torch(layer, gradients, state, names=names, numpy=True)
    for name, parameter in network.named_parameters():
        theirs = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
        assert_close(given[name], theirs, name)
    given = interop.to_torch(layer, params, new_state, names=names, numpy=True)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            assert_close(given[name], buffer.numpy(), name)


def listed(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def in_a_row(layer, *modules):
    """The modules as one network, under the names of the layer's children."""
    names = [name for name, _ in layer.info.children]
    return torch.nn.Sequential(OrderedDict(zip(names, modules, strict=True)))


def without_dropout(layer):
    """The layer with the identity in the place of every dropout inside."""
    for name, child in layer.info.children:
        inner = F.identity if child.info.kind == "dropout" else without_dropout(child)
        if inner is not child:  # blocks that are one Layer stay one
            layer = nn.replace(layer, name, inner)
    return layer
