"""Weights in and out of dlcore."""

from __future__ import annotations

from dlcore.interop import weights as weights
