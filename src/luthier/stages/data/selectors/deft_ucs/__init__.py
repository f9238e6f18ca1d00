"""Take typical and unusual rows of every topic, and some by chance."""
