"""Networks that learn without labels, and make new examples: lecture C."""
