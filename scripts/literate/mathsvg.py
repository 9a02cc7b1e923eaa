"""Draw TeX formulas as SVG with matplotlib: JSON in, JSON out.

    python3 mathsvg.py < formulas.json > drawings.json

In: a list of {"tex", "display"}. Out: {"fonts": the folder of matplotlib's
fonts, "drawings": a list of {"svg", "depth"} (in em), or {"error"}}. Run on its own because
matplotlib may live in another Python than the one that runs lit.
"""

import json
import re
import sys
from pathlib import Path

import matplotlib
from matplotlib.mathtext import MathTextParser
from matplotlib.textpath import TextToPath

EM = 100                    # units of the drawing to an em
LEADING = 0.45              # em between two rows
MOVES = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
POINTS = {1: 1, 2: 1, 3: 2, 4: 3, 79: 1}

matplotlib.rcParams["mathtext.fontset"] = "stix"
parser, pather = MathTextParser("path"), TextToPath()


def plain(tex):
    """TeX in the words that mathtext knows."""
    tex = re.sub(r"\\(?:text|textrm|mbox)\{([^}]*)\}", lambda m: r"\mathrm{"
                 + m[1].replace(" ", r"\ ") + "}", tex)
    tex = re.sub(r"\\bmod\b", r"\\;\\mathrm{mod}\\;", tex)
    tex = re.sub(r"\\pmod\{([^}]*)\}", r"\\quad(\\mathrm{mod}\\ \1)", tex)
    tex = re.sub(r"\\sqrt\s*(\w|\\[a-zA-Z]+)(?=\W|\Z)", r"\\sqrt{\1}", tex)
    tex = re.sub(r"\\[td]?frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", tex)
    tex = re.sub(r"\\[td]frac\b", r"\\frac", tex)
    tex = re.sub(r"\\[bB]igg?[lr]?(?![a-z])", "", tex)
    tex = re.sub(r"\\(?:display|text)style\b", "", tex)
    tex = re.sub(r"\\\||\\[lr]Vert(?![a-z])", lambda m: r"\Vert ", tex)
    tex = re.sub(r"\\[lr]vert(?![a-z])", "|", tex)
    for word, known in ((r"\lbrack", "["), (r"\rbrack", "]"), (r"\land",
                        r"\wedge"), (r"\lor", r"\vee"), (r"\lnot", r"\neg"),
                        (r"\le", r"\leq"), (r"\ge", r"\geq"),
                        (r"\ne", r"\neq"), (r"\to", r"\rightarrow"),
                        (r"\dots", r"\ldots"), (r"\colon", ":"),
                        (r"\operatorname", r"\mathrm"), (r"\implies",
                        r"\Rightarrow"), (r"\iff", r"\Leftrightarrow")):
        tex = re.sub(re.escape(word) + r"(?![a-zA-Z])", lambda m: known, tex)
    return tex.replace("~", r"\ ").replace("\n", " ").strip()


class Box:
    """A drawing: its SVG path, width, height above and depth below the line."""

    def __init__(self, path, width, height, depth):
        self.path, self.width = path, width
        self.height, self.depth = height, depth


def tall(tex):
    """The fractions of a displayed formula, those in braces apart, at full
    size."""
    out, depth = [], 0
    for part in re.split(r"(\\frac\b|\\[{}]|[{}])", tex):
        depth += (part == "{") - (part == "}")
        out.append(r"\dfrac" if part == r"\frac" and depth == 0 else part)
    return "".join(out)


def draw(tex, dx=0.0, dy=0.0, scale=1.0):
    """One formula without rows, its origin at (dx, dy), y downwards."""
    if not tex.strip():
        return Box("", 0.0, 0.0, 0.0)
    prop = matplotlib.font_manager.FontProperties(size=EM)
    width, height, depth = parser.parse(f"${tex}$", 72, prop)[:3]
    points, codes = pather.get_text_path(prop, f"${tex}$", ismath=True)
    parts, k = [], 0
    while k < len(codes):
        code = codes[k]
        count = POINTS.get(code, 0)
        if code == 79:
            parts.append("Z")
        elif count:
            parts.append(MOVES[code] + " ".join(
                f"{dx + scale * x:.1f} {dy - scale * y:.1f}"
                for x, y in points[k:k + count]))
        k += max(count, 1)
    return Box("".join(parts), width, height - depth, depth)


def draw_rows(rows, brace):
    """Rows of cells, aligned like TeX's: right, left, right, left."""
    cells = [[draw(cell) for cell in row] for row in rows]
    count = max(map(len, cells))
    widths = [max((row[c].width for row in cells if c < len(row)), default=0.0)
              for c in range(count)]
    gap = EM if brace else 0.2 * EM
    path = ""
    total = sum(max(b.height for b in r) + max(b.depth for b in r)
                for r in cells) + LEADING * EM * (len(cells) - 1)
    mark = draw(r"\{")
    scale = total / (mark.height + mark.depth)
    left = mark.width * scale + 0.25 * EM if brace else 0.0
    top = -total / 2 - 0.25 * EM
    for texs, boxes in zip(rows, cells):
        y = top + max(box.height for box in boxes)
        x = left
        for c, (tex, box) in enumerate(zip(texs, boxes)):
            shift = 0.0 if brace or c % 2 else widths[c] - box.width
            path += draw(tex, x + shift, y).path
            x += widths[c] + gap
        top = y + max(box.depth for box in boxes) + LEADING * EM
    if brace:
        path += draw(r"\{", 0.0, -0.25 * EM + total / 2 - scale * mark.depth,
                     scale).path
    height = total / 2 + 0.25 * EM
    return Box(path, left + sum(widths) + gap * (count - 1), height,
               total - height)


def draw_formula(tex, display):
    """A formula, perhaps with one environment of rows at its end."""
    match = re.fullmatch(r"(.*?)\\begin\{(aligned|cases|split|align\*?)\}(.*)"
                         r"\\end\{\2\}(.*)", tex, re.S)
    if not match:
        return draw(tall(plain(tex)) if display else plain(tex))
    level = plain if match[2] == "cases" else lambda cell: tall(plain(cell))
    rows = [[level(cell) for cell in row.split("&")]
            for row in re.split(r"\\\\(?:\[[^]]*\])?", match[3])
            if row.strip()]
    head, tail = plain(match[1]), plain(match[4])
    before = draw(head)
    inner = draw_rows(rows, match[2] == "cases")
    at = before.width + (0.2 * EM if head else 0.0)
    after = draw(tail, at + inner.width + 0.1 * EM)
    path = before.path + f'"/><path transform="translate({at:.1f} 0)" d="' \
        + inner.path + '"/><path d="' + after.path
    return Box(path, at + inner.width + 0.1 * EM + after.width,
               max(before.height, inner.height, after.height),
               max(before.depth, inner.depth, after.depth))


def drawing(tex, display):
    box = draw_formula(tex, display)
    pad = 0.04 * EM
    width, total = box.width + 2 * pad, box.height + box.depth + 2 * pad
    svg = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width / EM:.3f}em"'
           f' height="{total / EM:.3f}em" viewBox="{-pad:.1f} '
           f'{-box.height - pad:.1f} {width:.1f} {total:.1f}">'
           f'<path d="{box.path}"/></svg>')
    return {"svg": svg, "width": width / EM, "height": total / EM,
            "depth": (box.depth + pad) / EM}


def main():
    drawings = []
    for formula in json.load(sys.stdin):
        try:
            drawings.append(drawing(formula["tex"], formula["display"]))
        except ValueError as error:
            drawings.append({"error": str(error).strip().split("\n")[-1]})
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    json.dump({"fonts": str(fonts), "drawings": drawings}, sys.stdout)


if __name__ == "__main__":
    main()
