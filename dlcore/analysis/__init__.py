"""What happens inside a network: where its time goes."""

from dlcore.analysis.profile import Profile, profile

__all__ = ["Profile", "profile"]
