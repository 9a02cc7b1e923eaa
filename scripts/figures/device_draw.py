"""The shared memory of a draw: columns for the lanes, stretches for warps."""
from draw import Figure

f = Figure(640, 300, "The memory of a draw: for each warp sixteen bins with a "
           "column for each lane, the totals of the bins, and for each warp "
           "the mass and the ties of its stretch of the row")
f.text(20, 24, "bins of one warp: a row a bin, a column a lane", "start",
       "small")
for b in range(4):
    y = 36 + 30 * b
    name = ["bin 15", "bin 14", "...", "bin 0"][b]
    f.text(20, y + 20, name, "start", "small")
    for i in range(7):
        label = ["lane 0", "lane 1", "lane 2", "lane 3", "...", "lane 30",
                 "lane 31"][i]
        f.box(74 + 58 * i, y, 58, 26, label if b == 0 else "",
              "a" if i % 2 == 0 else "paper", "small")
    f.arrow(484, y + 13, 526, y + 13)
    f.box(528, y, 92, 26, "total" if b != 2 else "...", "b", "small")
f.text(574, 24, "over all warps", kind="small")
f.text(20, 190, "the row of logits: one stretch a warp", "start", "small")
for w in range(4):
    label = ["warp 0", "warp 1", "...", "warp 15"][w]
    f.box(20 + 150 * w, 202, 150, 28, label, "c", "small")
    if w != 2:
        f.arrow(95 + 150 * w, 232, 95 + 150 * w, 252)
        f.box(30 + 150 * w, 254, 130, 30, "mass above, ties", "b", "small")
f.save("device-draw")
