"""What happens inside a network: where its time goes."""

from dlcore.analysis.profile import Profile, Row, profile

__all__ = ["Profile", "Row", "profile"]
