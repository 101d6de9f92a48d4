"""Augmentation: functions (key, x) -> x of one example, pure, for jit and vmap.

`images`, `text` and `audio` hold them; `chain` joins them, `each` takes a batch, `inputs` the "x"
of one, and `train.augmented` puts them into training. `mixup` and `cutmix` mix examples.
"""

from dlcore.data.augment import audio as audio
from dlcore.data.augment import images as images
from dlcore.data.augment import text as text
from dlcore.data.augment.compose import Augmentation as Augmentation
from dlcore.data.augment.compose import chain as chain
from dlcore.data.augment.compose import each as each
from dlcore.data.augment.compose import inputs as inputs
from dlcore.data.augment.mixing import cutmix as cutmix
from dlcore.data.augment.mixing import mixup as mixup
