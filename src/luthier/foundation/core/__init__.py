"""Errors, hashing, seeds, clock, atomic files, log and progress: the standard library and small packages only."""
