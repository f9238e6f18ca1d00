"""Stage 2: choose the base: fit, licence, safety of its files, digest."""
