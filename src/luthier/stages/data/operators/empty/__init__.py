"""Drop rows that say nothing."""
