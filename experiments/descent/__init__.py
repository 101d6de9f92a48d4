"""How a network is trained: lectures A to E."""
