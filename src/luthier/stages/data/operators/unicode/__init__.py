"""Take hidden and odd characters out of all texts."""
