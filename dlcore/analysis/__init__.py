"""What happens inside a network: where its time goes."""

from dlcore.analysis.profile import Profile, Row, profile
from dlcore.names import api

__all__ = ["Profile", "Row", "profile"]

__getattr__, __dir__ = api(__name__, __all__)
