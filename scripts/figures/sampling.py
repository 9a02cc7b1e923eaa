"""One draw: masses, the two cuts, and the walk."""
import math

from draw import Figure

LOGITS = [1.2, 2.6, 0.4, 3.0, 1.9, 2.6, 0.9, 2.1]
f = Figure(640, 330, "Eight tokens with their masses: the cut keeps the five "
           "likeliest, and a walk in the order of ids finds the token")

top = max(LOGITS)
masses = [math.exp(z - top) for z in LOGITS]
order = sorted(range(8), key=lambda i: (-LOGITS[i], i))
kept = set(order[:5])

f.text(20, 30, "logits, by id", "start")
f.cells(150, 12, 58, 28, LOGITS)
f.text(20, 66, "masses / 2^40", "start")
f.cells(150, 48, 58, 28, ["%.3f" % m for m in masses])
for i, mass in enumerate(masses):
    height = 80 * mass
    f.box(158 + 58 * i, 170 - height, 42, height, "", "a" if i in kept else "e")
    f.text(179 + 58 * i, 188, i, kind="small")
f.text(20, 130, "top_k = 5 keeps five:", "start", "small")
f.text(20, 146, "of equal logits the", "start", "small")
f.text(20, 162, "lower id first", "start", "small")

f.text(20, 226, "the walk", "start")
total = sum(masses[i] for i in kept)
x, ends = 150, []
for i in sorted(kept):
    width = 464 * masses[i] / total
    f.box(round(x, 1), 208, round(width, 1), 28, i, "a")
    ends.append((i, x, x + width))
    x += width
u = 0.62
at = round(150 + 464 * u, 1)
f.arrow(at, 276, at, 238)
f.text(at, 292, "threshold = u x total, rounded down", kind="small")
drawn = next(i for i, a, b in ends if b > at)
f.text(at, 312, f"token {drawn} is drawn: the first whose sum exceeds it")
f.text(150, 252, "0", kind="small")
f.text(614, 252, "total", "end", "small")
f.save("sampling")
