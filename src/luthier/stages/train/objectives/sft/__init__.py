"""Supervised fine-tuning: make the given answers likelier."""
