"""The layer of local response normalisation."""

from __future__ import annotations

from dlcore import functional as F
from dlcore.nn.arguments import factory
from dlcore.nn.layer import Layer, check_sizes, from_function


@factory()
def local_response_norm(
    size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> Layer:
    """y[..., i] = x[..., i] / (k + alpha · Σⱼ x[..., j]²)^beta over `size` channels j around i.

    See `functional.local_response_norm`.
    """
    check_sizes("local_response_norm", size=size)
    return from_function(
        lambda x: F.local_response_norm(x, size, alpha, beta, k),
        local_response_norm,
        size=size,
        alpha=alpha,
        beta=beta,
        k=k,
    )
