"""Reserved addresses with memory behind their front, slab by slab."""
from draw import Figure

W, H = 640, 268
CELL, SLAB, LEFT, TOP, ROW = 40, 4, 100, 62, 34
BLOCKS = 12
COMMITTED = 8
HELD = {0, 1, 2, 4}

f = Figure(W, H, "Four arrays of keys and values over twelve blocks in slabs of "
           "four; eight blocks are committed in each array, four of them are "
           "held")
for slab in range(BLOCKS // SLAB):
    x = LEFT + slab * SLAB * CELL
    f.text(x + SLAB * CELL / 2, 28, f"slab {slab}")
    for i in range(SLAB):
        f.text(x + i * CELL + CELL / 2, 50, slab * SLAB + i, kind="small")
for row, name in enumerate(["layer 0, K", "layer 0, V", "layer 1, K",
                            "layer 1, V"]):
    y = TOP + row * ROW
    f.text(LEFT - 10, y + 18, name, anchor="end")
    for block in range(BLOCKS):
        x = LEFT + block * CELL
        if block < COMMITTED:
            f.box(x, y, CELL, 26, "", fill="a" if block in HELD else "c")
        else:
            f.line(x, y, x + CELL, y, dash=True)
            f.line(x, y + 26, x + CELL, y + 26, dash=True)
            f.line(x + CELL, y, x + CELL, y + 26, dash=True)
edge = LEFT + COMMITTED * CELL
bottom = TOP + 4 * ROW
f.line(edge, 38, edge, bottom + 8)
f.text(edge + 6, bottom + 6, "the edge: the pool's total", anchor="start")
y = bottom + 24
for x, fill, words in [(LEFT, "a", "held"), (LEFT + 90, "c", "free, with memory")]:
    f.box(x, y, 18, 16, "", fill=fill)
    f.text(x + 26, y + 13, words, anchor="start")
x = LEFT + 270
f.line(x, y, x + 18, y, dash=True)
f.line(x, y + 16, x + 18, y + 16, dash=True)
f.text(x + 26, y + 13, "an address and no memory", anchor="start")
f.save("block-slabs")
