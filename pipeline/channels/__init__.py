"""Channels: what happens to a file on its way, from a social network's JPEG to an attacker's denoiser, with real codecs."""
