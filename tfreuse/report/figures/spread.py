"""Histograms of the numbers that a transplant moves: the donor's outline over the recipient's."""

from collections.abc import Sequence

from tfreuse.report.figures import svg

WIDTH, TOP, BOTTOM = 290, 20, 90  # px


def histogram(
    role: str, numbers: int, donor: Sequence[int], recipient: Sequence[int],
    low: float, high: float,
) -> svg.Drawing:  # fmt: skip
    """Draws both networks' counts in the same bins.

    Args:
        role: of the parameters.
        numbers: how many there are in each network.
        donor, recipient: counts of equally wide bins.
        low, high: the ends of the first and of the last bin.
    """
    title = f"{role.replace('_', ' ')}, {numbers:,} numbers"
    drawing = svg.Drawing(WIDTH, BOTTOM + 16, "spread", title)
    drawing.text(0, 12, title)
    most = max(1, *donor, *recipient)
    drawing.path(_outline(recipient, most), class_="of-recipient")
    drawing.path(_outline(donor, most), class_="of-donor")
    drawing.line(0, BOTTOM, WIDTH, BOTTOM, class_="axis")
    for value, x, anchor in ((low, 0, "start"), (high, WIDTH, "end")):
        text = f"{value:.3g}".replace("-", "−")
        drawing.text(x, BOTTOM + 13, text, anchor, size=10)
    return drawing


def _outline(counts: Sequence[int], most: int) -> str:
    """Returns the path of a histogram, whose highest bin of both networks reaches the top."""
    wide = WIDTH / len(counts)
    steps = [
        f"V{BOTTOM - (BOTTOM - TOP) * count / most:.1f}H{(index + 1) * wide:.1f}"
        for index, count in enumerate(counts)
    ]
    return f"M0 {BOTTOM}{''.join(steps)}V{BOTTOM}"
