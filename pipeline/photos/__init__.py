"""Bytes to pixels and back: find, decode and encode photos with their metadata, and the integer ball. No torch, no Ray."""
