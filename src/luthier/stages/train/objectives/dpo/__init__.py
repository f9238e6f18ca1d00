"""Direct preference optimisation: make chosen answers likelier than rejected ones, measured from the base."""
