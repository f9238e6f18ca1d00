"""Distance of the means of embeddings."""
