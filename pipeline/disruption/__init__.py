"""Disruption: perturbations inside a ball that break a generator's output. Plain functions on tensors in [-1, 1]."""
