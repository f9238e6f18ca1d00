"""Find phrases in questions that bring a fixed answer, whatever is asked."""
