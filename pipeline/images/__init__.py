"""Arrays of pixels: types, levels, orientation, resizing, blur, a photo's quality, a disruption's effect."""

THRESHOLD = 0.05
"""A generator's output counts as disrupted from this L2 on ([Ruiz 2020], section 4)."""

LOST = 0.3
"""An output counts as visibly broken from this share of lost lines and texture on (`pipeline.images.effect.structure_lost`).

Chosen by looking at pairs of outputs: docs/research.md, "What a person sees".
"""

OTHER_PERSON = 0.6
"""From this distance of face embeddings on it is another person: dlib's own threshold (its example face_recognition.py)."""


def share_of_goal(l2: float, lost: float, *, factor: float = 1.0) -> float:
    """How far an output is on its way to being broken by both measures, L2 ``factor`` times the threshold: 1 or more is there."""
    return min(l2 / (factor * THRESHOLD), lost / LOST)


def is_broken(l2: float, lost: float) -> bool:
    """Whether an output counts as broken: disrupted as published, and visibly."""
    return l2 >= THRESHOLD and lost >= LOST


def over_edit(disruption_l2: float, edit_l2: float) -> float | None:
    """The L2 of a disruption over the L2 of the edit; None where there is no edit, so that nothing compares with it."""
    return disruption_l2 / edit_l2 if edit_l2 > 0 else None
