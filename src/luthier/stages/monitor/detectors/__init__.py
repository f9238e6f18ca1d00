"""One folder a drift detector."""
