"""What comes next: sequences from a network that remembers, one compiled loop."""

from dlcore.generate.beams import Beams, beam_search
from dlcore.generate.choice import filtered
from dlcore.generate.sampling import Sampled, sample, stream
from dlcore.names import api

__all__ = ["Beams", "Sampled", "beam_search", "filtered", "sample", "stream"]

__getattr__, __dir__ = api(__name__, __all__)
