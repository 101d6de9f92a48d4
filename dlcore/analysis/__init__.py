"""What happens inside a network: where its time goes, and what its word vectors know."""

from dlcore.analysis.profile import Profile, Row, profile
from dlcore.analysis.word_vectors import WordVectors
from dlcore.names import api

__all__ = ["Profile", "Row", "WordVectors", "profile"]

__getattr__, __dir__ = api(__name__, __all__)
