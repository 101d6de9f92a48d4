"""Augmentation: functions (key, x) -> x of one example, pure, for jit and vmap.

`images`, `text` and `audio` hold them; `chain` joins them, `each` takes a batch, `inputs` the "x"
of one, and `train.augmented` puts them into training. `mixup` and `cutmix` mix examples, `binarise`
draws black and white pixels of grey ones; `masking` and `noise` take arrays of any shape.
"""

from dlcore.data.augment import audio, images, text
from dlcore.data.augment.compose import Augmentation, chain, each, inputs
from dlcore.data.augment.corruption import binarise, masking, noise
from dlcore.data.augment.mixing import cutmix, mixup
from dlcore.names import api

__all__ = [
    "Augmentation",
    "audio",
    "binarise",
    "chain",
    "cutmix",
    "each",
    "images",
    "inputs",
    "masking",
    "mixup",
    "noise",
    "text",
]

__getattr__, __dir__ = api(__name__, __all__)
