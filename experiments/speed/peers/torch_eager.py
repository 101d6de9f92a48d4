"""PyTorch, eager: zero_grad, backward, step, with fused optimizers and images channels last.

Channels last take 30 % more steps of ResNet-20 than channels first on a core (torch 2.13), and as
many of LeNet-5; fused optimizers 7 % more of mlp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from experiments.speed._networks import (
    NETWORKS,
    STAGES,
    Network,
    Places,
    batches,
    channels_first,
    turns,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def ready(folder: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The batches on the device; the bytes of images stay in their order, channels last."""
    pairs = [(torch.tensor(x, device=DEVICE), y) for x, y in batches(folder)]
    return [
        (x.permute(0, 3, 1, 2) if x.ndim == 4 else x, torch.tensor(y, device=DEVICE).long())
        for x, y in pairs
    ]


def conv(channels: int, width: int, stride: int = 1) -> nn.Module:
    """3×3, the norm behind it has the bias."""
    return nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)


class Block(nn.Module):
    """relu(body(x) + skip(x)), option A."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(channels, width, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            conv(width, width),
            nn.BatchNorm2d(width),
        )
        self.stride, self.added = stride, (width - channels) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape, or half the pixels and twice the channels."""
        skip = x
        if self.added:
            ends = (0, 0, 0, 0, self.added, self.added)
            skip = F.pad(x[:, :, :: self.stride, :: self.stride], ends)
        return F.relu(self.body(x) + skip, inplace=True)


class VAE(nn.Module):
    """784-400-20-400-784."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 40))
        self.decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(logits of x, means, log-variances)"""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decoder(z), mean, log_variance


def mlp() -> nn.Module:
    """784-512-512-10"""
    return nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    )


def playground() -> nn.Module:
    """2-8-8-1"""
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))


def lenet5() -> nn.Module:
    """LeNet-5"""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def resnet20() -> nn.Module:
    """ResNet-20"""
    return nn.Sequential(
        conv(3, 16),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        *(Block(*block) for stage in STAGES for block in stage),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "playground": playground,
    "lenet5": lenet5,
    "resnet20": resnet20,
    "vae": VAE,
}


def elbo(outputs: Any, x: torch.Tensor) -> torch.Tensor:
    """−log p(x|z) + KL(q(z|x) ‖ N(0, 1)), the mean over the batch."""
    logits, mean, log_variance = outputs
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    divergence = 0.5 * torch.sum(mean.square() + log_variance.exp() - log_variance - 1)
    return (reconstruction + divergence) / len(x)


LOSSES: dict[str, Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "softmax": lambda logits, x, y: F.cross_entropy(logits, y),
    "sigmoid": lambda logits, x, y: F.binary_cross_entropy_with_logits(logits[:, 0], y.float()),
    "elbo": lambda outputs, x, y: elbo(outputs, x),
}


def make_optimizer(network: Network, model: nn.Module) -> torch.optim.Optimizer:
    """Adam, or gradient descent with momentum and L2."""
    if network.momentum is None:
        return torch.optim.Adam(model.parameters(), network.rate, fused=True)
    return torch.optim.SGD(
        model.parameters(), network.rate, network.momentum, weight_decay=network.l2, fused=True
    )


def start(name: str, places: Places, data: Any) -> tuple[int, Iterator[Any]]:
    """The model and its optimizer on the device."""
    network = NETWORKS[name]
    model: Any = MODELS[name]()  # in the types of its `to` the memory format is amiss
    loss_function = LOSSES[network.loss]
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), channels_first(places), strict=True):
            parameter.copy_(torch.tensor(array))
    model.to(DEVICE, memory_format=torch.channels_last)
    optimizer = make_optimizer(network, model)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function(model(x), x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    parameters = sum(parameter.numel() for parameter in model.parameters())

    def train(first: int, last: int, rounds: int) -> list[Any]:
        return [step(*batch) for batch in data[first:last] * rounds]

    return parameters, turns(train, network)
