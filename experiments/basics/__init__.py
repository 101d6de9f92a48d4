"""From data to a trained network, and what that costs."""
