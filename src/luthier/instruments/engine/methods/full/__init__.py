"""Full tuning: every weight of the base is trained."""
