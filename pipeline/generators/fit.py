"""A net with the weights of a file: by their released names, else by order and shapes, else a refusal that names what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor, nn

from pipeline.generators.checkpoint import CheckpointError
from pipeline.generators.layout import MisfitError, has_layers_of, renamed, respell
from pipeline.generators.nearest import nearest_architecture
from pipeline.generators.state_names import StateDict, is_statistic, standard_names
from pipeline.generators.unwrap import under

ByShapes = Callable[[StateDict], nn.Module | None]
"""The net without weights in the sizes that the shapes of a state_dict tell, None where they are of another architecture."""
FromState = Callable[..., nn.Module]
"""(state_dict under the released names, source=name of its file) -> the net; raises CheckpointError for any other."""


def fit_weights(state: StateDict, from_state: FromState, by_shapes: ByShapes, *, source: str) -> tuple[nn.Module, str]:
    """The net, and what a user should know of how its weights were found: empty where they have their released names.

    Raises CheckpointError for weights that do not fit, or fit in several ways.
    """
    try:
        return from_state(state, source=source), ""
    except CheckpointError as error:
        refusal = error
    reasons, fitting = [], []
    for part, weights in _parts(state):
        try:
            if (net := by_shapes(weights)) is not None and has_layers_of(weights, net.state_dict()):
                fitting.append((part, weights, respell(weights, net.state_dict())))
        except MisfitError as error:
            reasons.append(f"{part}: {error}" if part else str(error))
        if fitting and not part:
            break
    if len(fitting) > 1:
        names = [part for part, _, _ in fitting]
        raise CheckpointError(
            f"{source} holds several networks that fit: {', '.join(names)}; save the one you mean alone, with its names without "
            f"{names[0]!r} and the dot"
        )
    if not fitting:
        reason = "; ".join(reasons[:1]) or nearest_architecture(state, asked=from_state)
        raise CheckpointError(f"{refusal}; {reason}") from refusal
    ((part, weights, spelled),) = fitting
    changed = [(old, new) for new, old in spelled.items() if old != new]
    said = f"its part {part} was taken; " if part else ""
    if changed:
        old, new = changed[0]
        said += (
            f"{len(changed)} of its {len(spelled)} names are not the released ones ({old} for {new}) and were matched by order and "
            "shapes, so make sure that it is this architecture; "
        )
    return from_state(renamed(weights, spelled), source=source), said.removesuffix("; ")


def _parts(state: StateDict) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """All weights, then those below each first part of their names, without what is no weight of the net."""
    named = standard_names(state, keep=[name for name in state if is_statistic(name)])
    yield "", named
    parts = dict.fromkeys(name.partition(".")[0] for name in named)
    if len(parts) > 1:
        yield from ((part, inside) for part in parts if (inside := under(named, part)))
