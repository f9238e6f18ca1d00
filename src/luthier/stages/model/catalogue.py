"""Known base models with licence, source and date."""
