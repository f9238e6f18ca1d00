"""The support desk of a made-up company: written by us, drawn by a seed, with defects planted on purpose."""
