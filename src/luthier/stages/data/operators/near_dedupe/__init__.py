"""Keep one row of each cluster of rows that say nearly the same."""
