"""Measures pairs of files: what a disruption does to generators, after which channel, how sure the numbers are."""
