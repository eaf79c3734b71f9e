"""Protecting photos: from the options of a run to its files, manifest and report."""
