"""The KV cache of one layer while a text grows."""
from draw import Figure

f = Figure(640, 250, "Three decode steps: each appends one key and one value; "
           "the query of the step reads all of them and is forgotten")
for step in range(3):
    top, count = 30 + 72 * step, 3 + step
    f.text(70, top + 17, f"step {step + 1}", "end")
    for row, name in enumerate("kv"):
        fills = ["a" if row == 0 else "b"] * (count - 1) + ["c"]
        f.cells(90, top + 26 * row, 44, 24,
                [f"{name}{j}" for j in range(count)], fills)
    f.box(470, top + 13, 50, 24, f"q{count - 1}", "c", "mono")
    f.arrow(468, top + 25, 96 + 44 * count, top + 25)
    f.text(580, top + 30, "then forgotten", kind="small")
f.text(200, 20, "kept: written once, read at every later step", kind="small")
f.text(495, 20, "new query", kind="small")
f.save("kv-cache")
