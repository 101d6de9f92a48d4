"""What happens inside a network: its time, what it attends to, what its word vectors know, where
its codes lie, and how good what it generates is.
"""

from dlcore.analysis.attention import attention_weights
from dlcore.analysis.generated import Quality, frechet_distance, precision_recall, quality
from dlcore.analysis.latent import Method, latent_map
from dlcore.analysis.profile import Profile, Row, profile
from dlcore.analysis.word_vectors import WordVectors
from dlcore.names import api

__all__ = [
    "Method",
    "Profile",
    "Quality",
    "Row",
    "WordVectors",
    "attention_weights",
    "frechet_distance",
    "latent_map",
    "precision_recall",
    "profile",
    "quality",
]

__getattr__, __dir__ = api(__name__, __all__)
