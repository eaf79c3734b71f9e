"""Tells of pictures whether they carry a signal of a bundle, and whether they were manipulated."""
