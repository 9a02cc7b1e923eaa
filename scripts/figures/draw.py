"""One hand for all of the book's drawings: boxes, cells, arrows, labels.

A figure is a script beside this file that builds a Figure and saves it:

    from draw import Figure
    f = Figure(640, 200, "What the picture shows, in words")
    f.box(20, 20, 120, 40, "pool", fill="a")
    f.arrow(140, 40, 200, 40)
    f.save("pool")                      # book/figures/pool.svg

Units are pixels at a width of 640, the width of the book's text. Fills are
named: "paper", "ink", and the tints "a" blue, "b" orange, "c" green, "d" red,
"e" grey. Dark screens get dark paper and lighter lines.
"""
import math
import pathlib
from xml.sax.saxutils import escape

FIGURES = pathlib.Path(__file__).resolve().parents[2] / "book" / "figures"

STYLE = """
text { font: 13px sans-serif; fill: #222; }
text.small { font-size: 11px; }
text.mono { font-family: monospace; font-size: 12px; }
.line { stroke: #444; stroke-width: 1.2; fill: none; }
.dash { stroke-dasharray: 4 3; }
.box { stroke: #444; stroke-width: 1; }
.head { fill: #444; }
.paper { fill: #fff; } .ink { fill: #444; }
.a { fill: #cfe2f3; } .b { fill: #fce5cd; } .c { fill: #d9ead3; }
.d { fill: #f4cccc; } .e { fill: #e8e8e8; }
@media screen and (prefers-color-scheme: dark) {
  text { fill: #ddd; }
  .line, .box { stroke: #aaa; } .head { fill: #aaa; }
  .paper { fill: #1b1b1b; } .ink { fill: #aaa; }
  .a { fill: #24435c; } .b { fill: #5c4122; } .c { fill: #2c4a24; }
  .d { fill: #5a2a2a; } .e { fill: #3a3a3a; }
}
"""


class Figure:
    def __init__(self, width, height, title):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" '
            f'viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
        ]

    def text(self, x, y, words, anchor="middle", kind=""):
        """Words with their baseline at y; kind: "small", "mono"."""
        self.parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}" '
                          f'class="{kind}">{escape(str(words))}</text>')

    def box(self, x, y, width, height, words="", fill="paper", kind=""):
        """A rectangle with lines of words in its middle."""
        self.parts.append(f'<rect class="box {fill}" x="{x}" y="{y}" rx="3" '
                          f'width="{width}" height="{height}"/>')
        lines = str(words).split("\n") if words != "" else []
        top = y + height / 2 + 4.5 - 8 * (len(lines) - 1)
        for i, line in enumerate(lines):
            self.text(x + width / 2, top + 16 * i, line, kind=kind)

    def cells(self, x, y, width, height, values, fills=None, kind="mono"):
        """A row of boxes side by side; fills names one for each."""
        for i, value in enumerate(values):
            self.box(x + i * width, y, width, height, value,
                     fills[i] if fills else "paper", kind)

    def line(self, x1, y1, x2, y2, dash=False):
        self.parts.append(f'<path class="line{" dash" if dash else ""}" '
                          f'd="M{x1} {y1}L{x2} {y2}"/>')

    def arrow(self, x1, y1, x2, y2, dash=False, bend=0):
        """From the first point to the second; bend bows it to one side."""
        mx = (x1 + x2) / 2 - bend * (y2 - y1) / 100
        my = (y1 + y2) / 2 + bend * (x2 - x1) / 100
        self.parts.append(f'<path class="line{" dash" if dash else ""}" '
                          f'd="M{x1} {y1}Q{mx:g} {my:g} {x2} {y2}"/>')
        # The head is drawn as a shape: not every renderer turns a marker.
        length = math.hypot(x2 - mx, y2 - my)
        ux, uy = 8 * (x2 - mx) / length, 8 * (y2 - my) / length
        self.parts.append(
            f'<path class="head" d="M{x2} {y2}'
            f'L{x2 - ux - uy / 2:.1f} {y2 - uy + ux / 2:.1f}'
            f'L{x2 - ux + uy / 2:.1f} {y2 - uy - ux / 2:.1f}z"/>')

    def save(self, name):
        FIGURES.mkdir(parents=True, exist_ok=True)
        text = "\n".join(self.parts + ["</svg>"]) + "\n"
        (FIGURES / f"{name}.svg").write_text(text)
