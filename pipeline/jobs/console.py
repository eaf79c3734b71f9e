"""The console of the verbs: what files call themselves is shown, never obeyed."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_LINE_ENDS = ("\n", "\r")
_UNSEEN = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]  # the last two turn text around
_SPELLED = {code: ascii(chr(code))[1:-1] for code in _UNSEEN if chr(code) != "\n"}


class PlainConsole(Console):
    """A rich console without markup that spells out control characters of the text: `\\x1b` for the one that begins colours."""

    def __init__(self, *, stderr: bool = False, highlight: bool = True) -> None:
        super().__init__(stderr=stderr, highlight=highlight, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The pieces of text to show; only rich's own may move the cursor."""
        if isinstance(renderable, Text) and (spelled := renderable.plain.translate(_SPELLED)) != renderable.plain:
            renderable = renderable.copy()
            renderable.plain = spelled  # before lines are broken: what is spelled is longer
        for text, style, control in super().render(renderable, options):
            is_own = control or text in _LINE_ENDS
            yield Segment(text if is_own else text.translate(_SPELLED), style, control)
