"""A small picture of a measured time between its bounds."""

from collections.abc import Sequence

from markupsafe import Markup

from conformance.report.text import bounds, count, seconds

WIDTH, HEIGHT, EDGE = 220, 22, 10


def draw_bar(low: float | None, high: float | None, measured: Sequence[float]) -> Markup:
    """Return an SVG of the allowed span (an open end reaches the edge) and a point for each time, all in seconds."""
    known = [value for value in (low, high, *measured) if value is not None]
    if not known:
        return Markup("")
    least, most = min(known), max(known)
    margin = (most - least) * 0.15 or abs(most) * 0.15 or 1.0
    least, most = least - margin, most + margin

    def place(value: float) -> float:
        return round(EDGE + (value - least) / (most - least) * (WIDTH - 2 * EDGE), 1)

    left = 0.0 if low is None else place(low)
    right = float(WIDTH) if high is None else place(high)
    parts = [f'<path class="axis" d="M0 11H{WIDTH}"/>']
    parts.append(f'<rect class="allowed" x="{left}" y="5" width="{max(right - left, 1):.1f}" height="12"/>')
    for value in measured:
        fits = (low is None or low <= value) and (high is None or value <= high)
        x = place(value)
        # A failing point has another shape too: colour alone tells nothing to many.
        shape = f"M{x} 6l5 5l-5 5l-5 -5z" if fits else f"M{x - 4} 7l8 8m0 -8l-8 8"
        parts.append(f'<path class="{"point" if fits else "point failed"}" d="{shape}"/>')
    spread = seconds(min(measured)) if len(measured) == 1 else count(len(measured), "measurement")
    words = f"{spread if measured else 'nothing'} measured; allowed: {bounds(low, high)}"
    return Markup(  # nothing but numbers went in
        f'<svg class="bar" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img"'
        f"><title>{words}</title>{''.join(parts)}</svg>"
    )
