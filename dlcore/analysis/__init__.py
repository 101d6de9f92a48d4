"""What happens inside a network: its time, what it attends to, what its word vectors know."""

from dlcore.analysis.attention import attention_weights
from dlcore.analysis.profile import Profile, Row, profile
from dlcore.analysis.word_vectors import WordVectors
from dlcore.names import api

__all__ = ["Profile", "Row", "WordVectors", "attention_weights", "profile"]

__getattr__, __dir__ = api(__name__, __all__)
