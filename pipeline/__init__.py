"""Protect photos against image-translation networks: disruption, hardening and signals, from one folder to a Ray cluster."""

__version__ = "0.1.0"
