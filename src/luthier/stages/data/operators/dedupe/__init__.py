"""Keep one row of each cluster of exact duplicates."""
