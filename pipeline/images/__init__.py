"""Arrays of pixels: types, levels, orientation, resizing, blur, a photo's quality, a disruption's effect."""

THRESHOLD = 0.05
"""A generator's output counts as disrupted from this L2 on ([Ruiz 2020], section 4)."""
