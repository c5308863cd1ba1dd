# SPDX-License-Identifier: GPL-2.0-only
"""The flood bench's medians as a picture: SVG, written by hand, so that it needs nothing.

One panel for each kind of flood: what each contender reaches of the limit, by the length of the
list, least to most as a thin line. Both axes are linear or even steps, nothing is cut off.
"""
import html
import statistics

WIDTH, PANEL, TOP, LEFT, RIGHT, GAP = 900, 230, 60, 60, 150, 56
COLOURS = {"smtpgate": "#0b6e4f", "plain": "#5b8def", "xdp-filter": "#9a6fb0", "nft netdev": "#d9822b",
           "nft inet": "#b5651d", "ipset": "#a63a50"}


def text(x, y, words, anchor="middle", size=12, weight="normal"):
    """One line of words."""
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
            f' font-weight="{weight}">{html.escape(words)}</text>')


def axes(top, sizes, left_of):
    """Lines at each tenth of the limit that matters, and the sizes below."""
    out = []
    for tenth in (0, 2, 4, 6, 8, 10):
        y = top + PANEL * (1 - tenth / 10)
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
                   f' stroke="#ccc" stroke-width="{1 if tenth else 1.5}"/>')
        out.append(text(LEFT - 8, y + 4, f"{tenth / 10:.1f}", "end"))
    return out + [text(left_of(number), top + PANEL + 18, f"{size:,}")
                  for number, size in enumerate(sizes)]


def panel(top, title, sizes, found):
    """found: {size: {name: [share of the limit]}}"""
    step = (WIDTH - LEFT - RIGHT) / len(sizes)
    bar = step * 0.8 / len(COLOURS)

    def middle(number):
        return LEFT + step * (number + 0.5)
    out = [text(LEFT, top - 10, title, "start", 14, "bold"), *axes(top, sizes, middle)]
    for number, size in enumerate(sizes):
        for place, name in enumerate(COLOURS):
            shares = found[size].get(name)
            if not shares:
                continue
            most = min(statistics.median(shares), 1.0)
            x = middle(number) - step * 0.4 + place * bar
            low, high = (top + PANEL * (1 - min(edge, 1.0)) for edge in (min(shares), max(shares)))
            out += [f'<rect x="{x:.1f}" y="{top + PANEL * (1 - most):.1f}" width="{bar - 1:.1f}"'
                    f' height="{PANEL * most:.1f}" fill="{COLOURS[name]}"/>',
                    f'<line x1="{x + bar / 2:.1f}" x2="{x + bar / 2:.1f}" y1="{low:.1f}"'
                    f' y2="{high:.1f}" stroke="#222" stroke-width="1"/>',
                    text(x + bar / 2, top + PANEL * (1 - most) - 4, f"{most:.2f}".lstrip("0"),
                         size=8)]
    return out


def legend(top):
    """Which colour is which."""
    out = []
    for number, (name, colour) in enumerate(COLOURS.items()):
        y = top + 20 * number
        out += [f'<rect x="{WIDTH - RIGHT + 20}" y="{y}" width="12" height="12" fill="{colour}"/>',
                text(WIDTH - RIGHT + 40, y + 11, name, "start")]
    return out


def flood(results, notes):
    """results: {(family, size, kind): {name: [packets a second]}}"""
    panels = {}
    for (family, size, kind), rates in results.items():
        panels.setdefault(f"IPv{family}, {kind} unlisted sources", {})[size] = {
            name: [rate / most for rate, most in zip(runs, rates["limit"])]
            for name, runs in rates.items()}
    height = TOP + len(panels) * (PANEL + GAP) + 14 * len(notes) + 10
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
           f' viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
           f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
           text(LEFT, 24, "Dropped packets a second in a flood, of the limit (return XDP_DROP),"
                " by prefixes in the list", "start", 15, "bold"), *legend(TOP)]
    for number, (title, found) in enumerate(panels.items()):
        out += panel(TOP + number * (PANEL + GAP), title, sorted(found), found)
    for number, note in enumerate(notes):
        out.append(text(LEFT, height - 14 * (len(notes) - number), note, "start", 11))
    return "\n".join([*out, "</svg>"]) + "\n"
