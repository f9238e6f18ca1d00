"""Kernels of our own for bfloat16 on a processor: norms, gates, rotations, attention weights, log-probabilities.

Between products a training step in bfloat16 spent a third of its time on passes over memory, each small, each by
another of torch's operations. Here each is one pass, in C, compiled for this machine (``build.py``), proven at the
door against the formulas (``proof.py``) and called with tensors (``calls.py``). Where there is no compiler, every
caller has torch's operations to fall back on. Precision: products of bfloat16 are summed in float32, everything else
is float32, and each result is rounded once.
"""
