"""Arrays of pixels: levels, blur, how a photo's quality is measured, what a disruption does to a generator's output."""

THRESHOLD = 0.05
"""A generator's output counts as disrupted from this L2 on ([Ruiz 2020], section 4)."""
