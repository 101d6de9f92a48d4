"""How to train so that what was not seen is told well too: lectures A to E."""
