"""Which rows matter: one folder a selector, config.py and selector.py."""
