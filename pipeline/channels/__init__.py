"""Channels: what happens to a written file, from a social network's JPEG to an attacker's denoiser, with real codecs."""
