"""The suite `forgetting`: general text, weighed."""
