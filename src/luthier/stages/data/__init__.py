"""Stage 1: read, clean, de-duplicate, split; every dropped or changed row keeps its reason."""
