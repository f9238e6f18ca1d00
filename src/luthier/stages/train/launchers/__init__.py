"""On which machines our loop runs: one folder a launcher, config.py and launcher.py."""
