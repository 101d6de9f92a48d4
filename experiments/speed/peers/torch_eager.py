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
    TEXTS,
    VOCABULARY,
    Network,
    Places,
    batches,
    channels_first,
    fused,
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


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.norm, self.heads = nn.LayerNorm(features), heads
        self.qkv, self.output = nn.Linear(features, 3 * features), nn.Linear(features, features)
        self.second = nn.LayerNorm(features)
        self.up, self.down = nn.Linear(features, 4 * features), nn.Linear(4 * features, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, features]"""
        parts = self.qkv(self.norm(x)).chunk(3, dim=-1)
        q, k, v = (one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.second(x)), approximate="tanh"))


class GPT(nn.Module):
    """GPT, of 4 layers."""

    def __init__(self) -> None:
        super().__init__()
        length, features, layers, heads, _ = TEXTS["gpt"]
        self.embedding = nn.Embedding(VOCABULARY, features)
        self.position = nn.Embedding(length, features)
        self.blocks = nn.Sequential(*(TransformerBlock(features, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [B, T, 65]."""
        h = self.blocks(self.embedding(x) + self.position.weight)
        return F.linear(self.norm(h), self.embedding.weight)


class LSTM(nn.Module):
    """65-64-256-65; of its two biases, which add up, one stays 0."""

    def __init__(self) -> None:
        super().__init__()
        _, features, _, _, hidden = TEXTS["lstm"]
        self.embedding = nn.Embedding(VOCABULARY, features)
        self.lstm = nn.LSTM(features, hidden, batch_first=True)
        nn.init.zeros_(self.lstm.bias_hh_l0).requires_grad_(False)
        self.head = nn.Linear(hidden, VOCABULARY)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [B, T, 65]."""
        return self.head(self.lstm(self.embedding(x))[0])


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
    "gpt": GPT,
    "lstm": LSTM,
}


def elbo(outputs: Any, x: torch.Tensor) -> torch.Tensor:
    """−log p(x|z) + KL(q(z|x) ‖ N(0, 1)), the mean over the batch."""
    logits, mean, log_variance = outputs
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    divergence = 0.5 * torch.sum(mean.square() + log_variance.exp() - log_variance - 1)
    return (reconstruction + divergence) / len(x)


LOSSES: dict[str, Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "softmax": lambda logits, x, y: F.cross_entropy(logits.flatten(0, -2), y.flatten()),
    "sigmoid": lambda logits, x, y: F.binary_cross_entropy_with_logits(logits[:, 0], y.float()),
    "elbo": lambda outputs, x, y: elbo(outputs, x),
}


def make_optimizer(network: Network, weights: list[Any]) -> torch.optim.Optimizer:
    """Adam, AdamW, or gradient descent with momentum and L2."""
    if network.decay:
        return torch.optim.AdamW(weights, network.rate, weight_decay=network.decay, fused=True)
    if network.momentum is None:
        return torch.optim.Adam(weights, network.rate, fused=True)
    return torch.optim.SGD(
        weights, network.rate, network.momentum, weight_decay=network.l2, fused=True
    )


def start(
    name: str, places: Places, data: Any, *, is_compiled: bool = False
) -> tuple[int, Iterator[Any]]:
    """The model and its optimizer on the device."""
    network = NETWORKS[name]
    model: Any = MODELS[name]()  # in the types of its `to` the memory format is amiss
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter, array in zip(weights, channels_first(fused(name, places)), strict=True):
            parameter.copy_(torch.tensor(array))
    model.to(DEVICE, memory_format=torch.channels_last)
    optimizer = make_optimizer(network, weights)

    def loss_function(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return LOSSES[network.loss](model(x), x, y)

    if is_compiled:
        loss_function = torch.compile(loss_function)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function(x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    parameters = sum(parameter.numel() for parameter in weights)

    def train(first: int, last: int, rounds: int) -> list[Any]:
        return [step(*batch) for batch in data[first:last] * rounds]

    return parameters, turns(train, network)
