"""Stage 5: base and tuned on held-out rows, a paired verdict, gates."""
