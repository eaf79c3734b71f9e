"""Arrays of pixels: types, levels, orientation, resizing, blur, a photo's quality, a disruption's effect."""

THRESHOLD = 0.05
"""A generator's output counts as disrupted from this L2 on ([Ruiz 2020], section 4)."""

LOST = 0.3
"""An output counts as visibly broken from this share of lost lines and texture on (`pipeline.images.effect.structure_lost`).

Chosen by looking at pairs of outputs: docs/research.md, "What a person sees".
"""

WELL_LOST = (1 + LOST) / 2
"""From here on half of the lines and texture that a broken output may keep are lost too."""

OTHER_PERSON = 0.6
"""From this distance of face embeddings on it is another person: dlib's own threshold (its example face_recognition.py)."""


def least_l2(factor: float) -> float:
    """The L2 without which no output has a margin of ``factor`` (`share_of_goal`)."""
    return max(1.0, factor / 2) * THRESHOLD


def share_of_goal(l2: float, lost: float, *, factor: float = 1.0) -> float:
    """How far an output is on its way to being broken by both measures with a margin: 1 or more is there.

    The margin is an L2 of ``factor`` (1 or more) times its threshold, or of half as much where the output is `WELL_LOST`.
    """
    return min(l2 / least_l2(factor), lost / LOST, max(l2 / (factor * THRESHOLD), lost / WELL_LOST))


def is_broken(l2: float, lost: float) -> bool:
    """Whether an output counts as broken: disrupted as published, and visibly."""
    return l2 >= THRESHOLD and lost >= LOST


def over_edit(disruption_l2: float, edit_l2: float) -> float | None:
    """The L2 of a disruption over the L2 of the edit; None where there is no edit, so that nothing compares with it."""
    return disruption_l2 / edit_l2 if edit_l2 > 0 else None
