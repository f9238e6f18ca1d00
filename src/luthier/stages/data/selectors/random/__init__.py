"""Order rows by chance."""
