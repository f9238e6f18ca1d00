"""What is asked: one folder a suite, config.py and suite.py."""
