"""Arrays of pixels: types, levels, orientation, resizing, blur, a photo's quality, a disruption's effect."""

THRESHOLD = 0.05
"""A generator's output counts as disrupted from this L2 on ([Ruiz 2020], section 4)."""


def over_edit(disruption_l2: float, edit_l2: float) -> float | None:
    """The L2 of a disruption over the L2 of the edit; None where there is no edit, so that nothing compares with it."""
    return disruption_l2 / edit_l2 if edit_l2 > 0 else None
