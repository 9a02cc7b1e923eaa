"""The shared memory of the streaming kernel: rings of spans, a panel of x."""
from draw import Figure

f = Figure(640, 300, "Shared memory of one block of threads: for each warp a "
           "ring of three places, and one panel of x for all")
f.text(20, 24, "weights, on their way", "start", "small")
states = [("multiplied", "c"), ("arrived", "a"), ("under way", "b")]
for w in range(3):
    y = 36 + 46 * w
    name = f"warp {w}" if w < 2 else "warp 7"
    f.text(20, y + 24, name, "start")
    for place in range(3):
        words, fill = states[(place - w) % 3]
        f.box(90 + 120 * place, y, 112, 36, f"2 rows\n{words}", fill, "small")
f.text(45, 126, "...")
f.text(500, 24, "global memory", kind="small")
f.box(470, 36, 150, 128, "rows of\nweights", "e")
f.arrow(468, 60, 446, 60)
f.arrow(468, 100, 446, 100)
f.arrow(468, 146, 446, 146)
f.text(20, 200, "x, for all warps: one row a quad, 32 groups of four floats and "
       "one to spare", "start", "small")
f.text(20, 230, "quad 0", "start", "small")
f.text(20, 262, "quad 1", "start", "small")
for q in range(2):
    for i in range(5):
        label = f"lane {i}" if i < 3 else ("..." if i == 3 else "lane 31")
        f.box(90 + 90 * i, 212 + 32 * q, 90, 26, label, "a", "small")
    f.box(540, 212 + 32 * q, 60, 26, "spare", "e", "small")
f.text(45, 288, "...")
f.save("device-ring")
