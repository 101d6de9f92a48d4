"""Networks that see: lectures C, D and E."""
