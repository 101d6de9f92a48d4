"""LeNet-5 (1998), AlexNet, VGG and GoogLeNet of torch's own layers, under torchvision's names."""

from __future__ import annotations

import torch
from torch import nn


class LeNet5(nn.Module):
    """Of 1998, where each map of C3 is a convolution by itself of the maps that it sees."""

    def __init__(self, connections, centers):
        super().__init__()
        self.connections = connections
        self.register_buffer("centers", torch.tensor(centers))
        self.c1 = nn.Conv2d(1, 6, 5)
        self.s2 = Subsample(6)
        self.c3 = nn.ModuleList(nn.Conv2d(len(maps), 1, 5) for maps in connections)
        self.s4 = Subsample(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)

    def forward(self, x):
        x = squash(self.s2(squash(self.c1(x))))
        x = torch.cat(
            [c3(x[:, maps]) for c3, maps in zip(self.c3, self.connections, strict=True)], 1
        )
        x = squash(self.f6(squash(self.c5(squash(self.s4(squash(x))))).flatten(1)))
        return -((x[:, None] - self.centers) ** 2).sum(-1)


class Subsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x):
        window = torch.ones(x.shape[1], 1, 2, 2)
        total = nn.functional.conv2d(x, window, stride=2, groups=x.shape[1])
        return self.weight * total + self.bias


def squash(x):
    return 1.7159 * torch.tanh(2 / 3 * x)


class AlexNet(nn.Module):
    def __init__(self, classes, size):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(size)
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * size[0] * size[1], 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, classes),
        )

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class AlexNet2012(nn.Module):
    def __init__(self, classes, size):
        super().__init__()

        def norm():  # the paper's α is not divided by the size
            return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 11, stride=4, padding=2),
            nn.ReLU(),
            norm(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2, groups=2),
            nn.ReLU(),
            norm(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(256 * size[0] * size[1], 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, classes),
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


VGG_WIDTHS = {
    11: "1 M 2 M 4 4 M 8 8 M 8 8 M",
    13: "1 1 M 2 2 M 4 4 M 8 8 M 8 8 M",
    16: "1 1 M 2 2 M 4 4 4 M 8 8 8 M 8 8 8 M",
    19: "1 1 M 2 2 M 4 4 4 4 M 8 8 8 8 M 8 8 8 8 M",
}


class VGG(nn.Module):
    def __init__(self, depth, batch_norm, classes, size, width):
        super().__init__()
        layers, channels = [], 3
        for entry in VGG_WIDTHS[depth].split():
            if entry == "M":
                layers.append(nn.MaxPool2d(2, 2))
                continue
            features = int(entry) * width
            layers.append(nn.Conv2d(channels, features, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(features))
            layers.append(nn.ReLU())
            channels = features
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(size)
        self.classifier = nn.Sequential(
            nn.Linear(channels * size[0] * size[1], 64 * width),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(64 * width, 64 * width),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(64 * width, classes),
        )

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class Unit(nn.Module):
    def __init__(self, channels, features, size, batch_norm, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, features, size, stride, size // 2, bias=not batch_norm)
        self.bn = nn.BatchNorm2d(features, eps=0.001) if batch_norm else nn.Identity()

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    def __init__(self, channels, one, reduce3, three, reduce5, five, pool, batch_norm):
        super().__init__()
        last = 3 if batch_norm else 5
        self.branch1 = Unit(channels, one, 1, batch_norm)
        self.branch2 = nn.Sequential(
            Unit(channels, reduce3, 1, batch_norm), Unit(reduce3, three, 3, batch_norm)
        )
        self.branch3 = nn.Sequential(
            Unit(channels, reduce5, 1, batch_norm), Unit(reduce5, five, last, batch_norm)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), Unit(channels, pool, 1, batch_norm))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Auxiliary(nn.Module):
    def __init__(self, channels, size, classes, width, batch_norm):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4) if batch_norm else nn.AvgPool2d(5, 3)
        self.conv = Unit(channels, 2 * width, 1, batch_norm)
        self.fc1 = nn.Linear(2 * width * size[0] * size[1], 16 * width)
        self.fc2 = nn.Linear(16 * width, classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x):
        x = self.conv(self.pool(x)).flatten(1)
        return self.fc2(self.dropout(torch.relu(self.fc1(x))))


GOOGLENET = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNet(nn.Module):
    """With auxiliary heads, whose maps have `size`; `small` is the stem for small images."""

    def __init__(self, classes, *, batch_norm=True, small=False, width=64, size=(4, 4)):
        super().__init__()
        self.small = small
        self.conv1 = Unit(3, width, *((3, batch_norm) if small else (7, batch_norm, 2)))
        self.conv2 = Unit(width, width, 1, batch_norm)
        self.conv3 = Unit(width, 3 * width, 3, batch_norm)
        self.norm = nn.Identity() if batch_norm else nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)
        channels = [3 * width]
        for name, row in GOOGLENET.items():
            row = [number * width // 64 for number in row]
            block = Inception(channels[-1], *row, batch_norm)
            self.add_module(f"inception{name}", block)
            channels.append(row[0] + row[2] + row[4] + row[5])
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.pool4 = nn.MaxPool2d(2, 2, ceil_mode=True) if batch_norm else self.pool
        self.aux1 = Auxiliary(channels[3], size, classes, width, batch_norm)
        self.aux2 = Auxiliary(channels[6], size, classes, width, batch_norm)
        self.dropout = nn.Dropout(0.2 if batch_norm else 0.4)
        self.fc = nn.Linear(channels[-1], classes)

    def forward(self, x):
        x = self.conv1(x)
        x = self.norm(x if self.small else self.pool(x))
        x = self.pool(self.norm(self.conv3(self.conv2(x))))
        auxiliary = []
        for name in GOOGLENET:
            x = getattr(self, f"inception{name}")(x)
            if name == "3b":
                x = self.pool(x)
            if name == "4a":
                auxiliary.append(self.aux1(x))
            if name == "4d":
                auxiliary.append(self.aux2(x))
            if name == "4e":
                x = self.pool4(x)
        logits = self.fc(self.dropout(x.mean((2, 3))))
        return (logits, *auxiliary) if self.training else logits
