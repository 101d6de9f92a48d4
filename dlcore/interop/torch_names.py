"""What PyTorch calls the parts of a network: one table for each kind of model and each library.

A module's name in torch is its path in dlcore, "stage1/0/body/conv1", under the rules of the
nearest model around it that has a table here, and then with "." for "/": "layer1.0.conv1". What a
layer's own leaves are called, and how torch lays them out, depends on the kind of layer alone; see
`interop.torch_weights`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from dlcore import tree
from dlcore.fields import documented

Shape = tuple[int, ...]


@documented
class Names(NamedTuple):
    """How torch names the modules of one kind of model.

    rules: pairs (regular expression, replacement), applied to a path one after another, each
        wherever it fits, as `re.sub` does.
    numbered: the globs (see `tree.match`) of the parts whose children torch knows by their
        position, as its Sequential does: these become numbers before the rules are applied.
    optional: a regular expression; tensors whose names begin with it are those of parts that a
        network may lack.
    packed: what the names of attention's three projections, which are one tensor, begin with, and
        those of its output; None where each is a module of its own.
    conv1d: whether kernels of linear layers have their axes as here, [I, O], and three of them
        stand beside each other: transformers' Conv1D.
    shapes: pairs (regular expression, function) for tensors whose whole name fits: their shape
        there, from the one that it is by the kind of layer; the numbers are in the same order.
    """

    rules: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = ()
    numbered: tuple[str, ...] = ()
    optional: str | None = None
    packed: tuple[str, str] | None = ("in_proj_", "out_proj.")
    conv1d: bool = False
    shapes: tuple[tuple[str, Callable[[Shape], Shape]], ...] = ()

    def translate(self, segments: list[tuple[str, int]]) -> str:
        """The torch name of the module at a path, given as (name, position) of each segment."""
        path = "/".join(
            str(position) if self._numbers(segments[:depth]) else name
            for depth, (name, position) in enumerate(segments)
        )
        for pattern, replacement in self.rules:
            path = re.sub(pattern, replacement, path)
        return path.replace("/", ".")

    def spares(self, name: str) -> bool:
        """Whether a network may lack the tensor of that name."""
        return self.optional is not None and re.match(self.optional, name) is not None

    def shape(self, name: str, usual: Shape) -> Shape:
        """The shape of the tensor of that name."""
        for pattern, shape in self.shapes:
            if re.fullmatch(pattern, name):
                return shape(usual)
        return usual

    def _numbers(self, parent: list[tuple[str, int]]) -> bool:
        path = "/".join(name for name, _ in parent)
        return any(tree.match(glob, path) for glob in self.numbered)


_RESNET = (
    ("^stem/", ""),
    ("^stage", "layer"),
    ("/body/", "/"),
    ("batch_norm", "bn"),
)
_SEQUENTIAL = ("features", "classifier")

# Those of torchvision.models, where it has the network.
NAMES: dict[str, Names] = {
    "alexnet": Names((), _SEQUENTIAL),
    "alexnet_2012": Names((), _SEQUENTIAL),
    "vgg": Names((), _SEQUENTIAL),
    "googlenet": Names(
        (
            (r"^stem/conv(\d)", r"conv\1/conv"),
            (r"^stem/batch_norm(\d)", r"conv\1/bn"),
            (r"(branch1)/conv1", r"\1/conv"),
            (r"(branch1)/batch_norm1", r"\1/bn"),
            (r"(branch[23])/(conv|batch_norm)1", r"\1/0/\2"),
            (r"(branch[234])/(conv|batch_norm)\d", r"\1/1/\2"),
            (r"^(aux\d)/(conv|batch_norm)1", r"\1/conv/\2"),
            (r"^(aux\d)/linear", r"\1/fc"),
            ("batch_norm", "bn"),
            ("^head$", "fc"),
        ),
        optional="aux",
    ),
    "resnet": Names((*_RESNET, ("/skip", "/downsample"), ("^head$", "fc")), ("*/*/skip",)),
    # The names that CIFAR's ResNets have in torch since Y. Idelbayev's pytorch_resnet_cifar10.
    "resnet_cifar": Names((*_RESNET, ("/skip", "/shortcut"), ("^head$", "linear")), ("*/*/skip",)),
    "convnext_tiny": Names(
        (
            ("^stem", "features/0"),
            (r"^downsample(\d)", lambda found: f"features/{2 * int(found[1]) - 2}"),
            (r"^stage(\d)", lambda found: f"features/{2 * int(found[1]) - 1}"),
            ("body/layer_scale1", "layer_scale"),
            ("body/conv1", "block/0"),
            ("body/layer_norm1", "block/2"),
            ("body/linear1", "block/3"),
            ("body/linear2", "block/5"),
            ("^norm$", "classifier/0"),
            ("^head$", "classifier/2"),
        ),
        ("stem", "downsample*"),
    ),
    "vit": Names(
        (
            ("^patches$", "conv_proj"),
            ("^position$", "encoder/pos_embedding"),
            ("^blocks/", "encoder/layers/encoder_layer_"),
            ("attention/body/layer_norm1", "ln_1"),
            ("attention/body/attention1", "self_attention"),
            ("mlp/body/layer_norm1", "ln_2"),
            ("mlp/body/linear1", "mlp/0"),
            ("mlp/body/linear2", "mlp/3"),
            ("^norm$", "encoder/ln"),
            ("^head$", "heads/head"),
        )
    ),
    # Those of GPT-2 in transformers. Its head is the table of the embedding once more.
    "gpt": Names(
        (
            ("^embedding$", "wte"),
            ("^position$", "wpe"),
            ("^blocks/", "h/"),
            ("attention/body/layer_norm1", "ln_1"),
            ("attention/body/attention1", "attn"),
            ("mlp/body/layer_norm1", "ln_2"),
            ("mlp/body/linear1", "mlp/c_fc"),
            ("mlp/body/linear2", "mlp/c_proj"),
            ("^norm$", "ln_f"),
        ),
        optional=r"lm_head\.weight$|h\.\d+\.attn\.(masked_)?bias$",
        packed=("c_attn.", "c_proj."),
        conv1d=True,
    ),
    # Those of BERT in transformers, also below a classifier.
    "encoder": Names(
        (
            (r"^(bert/)?embedding$", r"\1embeddings/word_embeddings"),
            (r"^(bert/)?position$", r"\1embeddings/position_embeddings"),
            (r"^(bert/)?segment$", r"\1embeddings/token_type_embeddings"),
            (r"^(bert/)?norm$", r"\1embeddings/LayerNorm"),
            (r"^(bert/)?blocks/", r"\1encoder/layer/"),
            ("attention/residual1/body/attention1/output", "attention/output/dense"),
            ("attention/residual1/body/attention1", "attention/self"),
            ("attention/layer_norm1", "attention/output/LayerNorm"),
            ("mlp/residual1/body/linear1", "intermediate/dense"),
            ("mlp/residual1/body/linear2", "output/dense"),
            ("mlp/layer_norm1", "output/LayerNorm"),
            (r"^(bert/)?pooler$", r"\1pooler/dense"),
        ),
        optional=r"(bert\.)?(pooler|cls|embeddings\.position_ids)\b",
        packed=None,
    ),
}


def _over_the_map(shape: Shape) -> Shape:
    """A linear layer on a map of 7×7, as the convolution that it is."""
    out, features = shape
    return shape if features % 49 else (out, features // 49, 7, 7)


# Those of timm.models, whose ResNets have torchvision's.
TIMM: dict[str, Names] = {
    **NAMES,
    "vgg": Names(
        (
            ("^classifier/linear1$", "pre_logits/fc1"),
            ("^classifier/linear2$", "pre_logits/fc2"),
            ("^classifier/linear3$", "head/fc"),
        ),
        ("features",),
        shapes=(
            (r"(.*\.)?pre_logits\.fc1\.weight", _over_the_map),
            (r"(.*\.)?pre_logits\.fc2\.weight", lambda shape: (*shape, 1, 1)),
        ),
    ),
    "convnext_tiny": Names(
        (
            (r"^downsample(\d)", lambda found: f"stages/{int(found[1]) - 1}/downsample"),
            (r"^stage(\d)", lambda found: f"stages/{int(found[1]) - 1}/blocks"),
            ("body/layer_scale1", "gamma"),
            ("body/conv1", "conv_dw"),
            ("body/layer_norm1", "norm"),
            (r"body/linear(\d)", r"mlp/fc\1"),
            ("^norm$", "head/norm"),
            ("^head$", "head/fc"),
        ),
        ("stem", "downsample*"),
        shapes=((r".*\.gamma", lambda shape: shape[:1]),),
    ),
    "vit": Names(
        (
            ("^patches$", "patch_embed/proj"),
            ("^class_token$", "cls_token"),
            ("^position$", "pos_embed"),
            ("attention/body/layer_norm1", "norm1"),
            ("attention/body/attention1", "attn"),
            ("mlp/body/layer_norm1", "norm2"),
            (r"mlp/body/linear(\d)", r"mlp/fc\1"),
        ),
        packed=("qkv.", "proj."),
    ),
}
