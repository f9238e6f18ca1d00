"""Drop training rows that hold what an evaluation set asks."""
