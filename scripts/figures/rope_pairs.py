"""Which numbers of a head rotate together, in both conventions."""
from draw import Figure

f = Figure(640, 250, "Rotary pairs in a head of ten numbers of which eight "
           "rotate: halves against halves, and neighbours")
TINTS = ["a", "b", "c", "d"]
WIDTH = 56


def head(top, title, pairs):
    f.text(20, top - 12, title, "start")
    fills = ["e"] * 10
    for pair, (i, j) in enumerate(pairs):
        fills[i] = fills[j] = TINTS[pair]
    f.cells(20, top, WIDTH, 30, list(range(10)), fills)
    for pair, (i, j) in enumerate(pairs):
        left, right = 20 + WIDTH * i + 28, 20 + WIDTH * j + 28
        drop = top + 42 + (9 * pair if j - i > 1 else 0)
        f.line(left, top + 30, left, drop)
        f.line(left, drop, right, drop)
        f.line(right, drop, right, top + 30)


head(48, "Phi-3: pairs (i, i + 4)", [(0, 4), (1, 5), (2, 6), (3, 7)])
head(172, "Llama: pairs (2i, 2i + 1)", [(0, 1), (2, 3), (4, 5), (6, 7)])
f.text(20, 240, "One colour, one angle. Grey numbers stay as they are.",
       "start", "small")
f.save("rope-pairs")
