"""One layer: the row of a token, and the two additions to it."""
from draw import Figure

f = Figure(640, 250, "One layer of the model: norm, linear, rope, attention, "
           "linear, add; then norm, linear, gate, linear, add")
steps = [("rmsnorm", "e"), ("linear\nQ, K, V", "b"), ("rope", "e"),
         ("attention", "a"), ("linear", "b")]
for half, (top, parts) in enumerate((
        (50, steps),
        (170, [("rmsnorm", "e"), ("linear\ngate, up", "b"),
               ("silu_mul", "e"), ("linear\ndown", "b")]))):
    f.line(20, top - 20, 560, top - 20)
    f.text(20, top - 28, "row of a token" if half == 0 else "the same row",
           "start", "small")
    x = 40
    f.arrow(60, top - 20, 60, top)
    for i, (words, fill) in enumerate(parts):
        f.box(x, top, 84, 42, words, fill, "small")
        if i + 1 < len(parts):
            f.arrow(x + 84, top + 21, x + 100, top + 21)
        x += 100
    end = x - 100 + 84
    f.line(end, top + 21, 575, top + 21)
    f.arrow(575, top + 21, 575, top - 11)
    f.box(562, top - 33, 26, 22, "+", "c")
    f.arrow(588, top - 22, 630, top - 22)
f.text(40, 236, "orange: matrices of weights; grey: small ops; blue: the only "
       "step in which tokens meet", "start", "small")
f.save("layer-steps")
