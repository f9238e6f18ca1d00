"""The templates of ``luthier init``: example rows of our own, and the recipe that fits them or a user's file."""
