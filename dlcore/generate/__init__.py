"""What networks make: sequences, from one that remembers, and examples, from generative ones.

`sample`, `stream` and `beam_search` write what comes next. Each kind of generative network has a
module, with `sample` and `log_prob` as far as it has them: `vae`.
"""

from dlcore.generate import vae
from dlcore.generate.beams import Beams, beam_search
from dlcore.generate.choice import filtered
from dlcore.generate.sampling import Sampled, sample, stream
from dlcore.names import api

__all__ = ["Beams", "Sampled", "beam_search", "filtered", "sample", "stream", "vae"]

__getattr__, __dir__ = api(__name__, __all__)
