"""Tables of plain text: aligned, figures to the right, a dash for what there is not."""

from __future__ import annotations

from collections.abc import Sequence

Figure = float | int | str | None


def aligned(header: Sequence[str], rows: Sequence[Sequence[Figure]], *, digits: int = 3) -> str:
    """The lines of a table, without a line end after the last.

    Args:
        header: names of the columns.
        rows: as many entries each; floats are rounded, None becomes a dash.
        digits: behind the point of a float.
    """
    texts = [[text(figure, digits=digits) for figure in row] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in texts), 0) for i, name in enumerate(header)]
    to_left = [not any(_is_number(row[i]) for row in rows) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(w) if left else cell.rjust(w) for cell, w, left in zip(row, widths, to_left, strict=True))
        for row in [list(header), *texts]
    ]
    return "\n".join(line.rstrip() for line in lines)


def ends(interval: Sequence[float] | None, *, digits: int = 3) -> str | None:
    """An interval as it stands in a table; None where there is none."""
    return None if interval is None else " to ".join(text(end, digits=digits) for end in interval)


def text(figure: Figure, *, digits: int = 3) -> str:
    """A figure as it stands in a table: floats rounded, a dash for None."""
    if figure is None:
        return "-"
    return f"{figure:.{digits}f}" if isinstance(figure, float) else str(figure)


def _is_number(figure: Figure) -> bool:
    if isinstance(figure, str):
        return figure.lstrip("-").replace(".", "", 1).isdecimal()
    return figure is not None
