"""How fast networks are trained, and what that costs: against other libraries, and as they grow."""
