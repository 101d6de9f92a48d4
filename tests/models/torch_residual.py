"""ResNet, ConvNeXt and ViT of torch's own layers, under the names that are common there."""

from __future__ import annotations

import torch
from torch import nn


def moved(network, seed=0):
    """The network with every parameter and statistic away from where it starts."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith(("running_var", "layer_scale")):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor) * (0.1 if tensor.ndim < 2 else 0.01))
    return network


def conv(channels, features, size, stride=1):
    return nn.Conv2d(channels, features, size, stride, size // 2, bias=False)


class BasicBlock(nn.Module):
    shortcut_name = "downsample"

    def __init__(self, channels, width, stride, shortcut):
        super().__init__()
        self.conv1, self.bn1 = conv(channels, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.add_module(self.shortcut_name, shortcut)

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(y)) + self.get_submodule(self.shortcut_name)(x)).relu()


class Bottleneck(nn.Module):
    def __init__(self, channels, width, stride, shortcut):
        super().__init__()
        self.conv1, self.bn1 = conv(channels, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.downsample = shortcut

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + self.downsample(x)).relu()


class ResNet(nn.Module):
    """torchvision's resnet18 and resnet34, with basic blocks, and resnet50."""

    def __init__(self, block, expansion, counts, classes):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64, 7, 2), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for i, n in enumerate(counts):
            blocks = []
            for j in range(n):
                width, stride = 64 * 2**i, 2 if i and not j else 1
                features = expansion * width
                shortcut = nn.Identity()
                if channels != features or stride != 1:
                    shortcut = nn.Sequential(
                        conv(channels, features, 1, stride), nn.BatchNorm2d(features)
                    )
                blocks.append(block(channels, width, stride, shortcut))
                channels = features
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def resnet(depth, classes):
    if depth == 18:
        return ResNet(BasicBlock, 1, (2, 2, 2, 2), classes)
    block, expansion = {34: (BasicBlock, 1), 50: (Bottleneck, 4)}[depth]
    return ResNet(block, expansion, (3, 4, 6, 3), classes)


class PaddedIdentity(nn.Module):
    """Option A of He et al. 2016."""

    def __init__(self, before, after):
        super().__init__()
        self.padding = (0, 0, 0, 0, before, after)

    def forward(self, x):
        return nn.functional.pad(x[:, :, ::2, ::2], self.padding)


class Nothing(nn.Module):
    def forward(self, x):
        return 0


class CifarBlock(BasicBlock):
    shortcut_name = "shortcut"


class CifarResNet(nn.Module):
    """With the names of the ResNets for CIFAR-10 whose weights are in use."""

    def __init__(self, n, option, classes):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 16, 3), nn.BatchNorm2d(16)
        channels = 16
        for i, width in enumerate((16, 32, 64)):
            blocks = []
            for j in range(n):
                changes = i > 0 and j == 0
                shortcut = nn.Sequential() if option else Nothing()
                if changes and option == "A":
                    shortcut = PaddedIdentity(width // 4, width // 4)
                if changes and option == "B":
                    shortcut = nn.Sequential(conv(channels, width, 1, 2), nn.BatchNorm2d(width))
                blocks.append(CifarBlock(channels, width, 2 if changes else 1, shortcut))
                channels = width
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class Permuted(nn.Module):
    def __init__(self, *order):
        super().__init__()
        self.order = order

    def forward(self, x):
        return x.permute(self.order)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of [B, C, H, W]."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((width, 1, 1), 1e-6))
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            Permuted(0, 2, 3, 1),
            nn.LayerNorm(width, eps=1e-6),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            Permuted(0, 3, 1, 2),
        )

    def forward(self, x):
        return x + self.layer_scale * self.block(x)


class ConvNeXt(nn.Module):
    """torchvision's convnext_tiny, without stochastic depth."""

    def __init__(self, classes):
        super().__init__()
        channels, parts = 96, []
        for width, n in ((96, 3), (192, 3), (384, 9), (768, 3)):
            if parts:
                parts.append(
                    nn.Sequential(ChannelNorm(channels, 1e-6), nn.Conv2d(channels, width, 2, 2))
                )
            else:
                parts.append(nn.Sequential(nn.Conv2d(3, width, 4, 4), ChannelNorm(width, 1e-6)))
            parts.append(nn.Sequential(*(ConvNeXtBlock(width) for _ in range(n))))
            channels = width
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Sequential(
            nn.LayerNorm(768, eps=1e-6), nn.Flatten(), nn.Linear(768, classes)
        )

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class ViTBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(0.0),
            nn.Linear(4 * width, width),
            nn.Dropout(0.0),
        )

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.self_attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class ViT(nn.Module):
    """torchvision's vit_b_16, in other sizes."""

    def __init__(self, width, heads, patch, patches, classes):
        super().__init__()
        self.conv_proj = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder = nn.Module()
        self.encoder.pos_embedding = nn.Parameter(torch.empty(1, 1 + patches, width).normal_())
        self.encoder.layers = nn.Sequential()
        for i in range(12):
            self.encoder.layers.add_module(f"encoder_layer_{i}", ViTBlock(width, heads))
        self.encoder.ln = nn.LayerNorm(width, eps=1e-6)
        self.heads = nn.Sequential()
        self.heads.add_module("head", nn.Linear(width, classes))

    def forward(self, x):
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1) + self.encoder.pos_embedding
        return self.heads(self.encoder.ln(self.encoder.layers(x))[:, 0])
