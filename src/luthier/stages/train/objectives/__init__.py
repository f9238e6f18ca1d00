"""What the loss is: one folder an objective, config.py and objective.py."""
