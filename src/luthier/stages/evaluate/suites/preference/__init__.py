"""The suite `preference`: held-out pairs, both answers weighed."""
