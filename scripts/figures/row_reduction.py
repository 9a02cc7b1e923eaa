"""How a block adds the squares of a row: lanes, warps, block."""
from draw import Figure

f = Figure(640, 270, "A row of 16-byte pieces dealt to the lanes of the warps; "
           "five exchanges within each warp; one number a warp in shared "
           "memory; each warp adds those")
f.text(20, 22, "a row of C floats, four to a lane", "start", "small")
f.cells(20, 32, 25, 28, [""] * 24, (["a"] * 4 + ["b"] * 4) * 3)
for i, (fill, name) in enumerate((("a", "warp 0"), ("b", "warp 1"))):
    y = 92 + 58 * i
    f.text(20, y + 18, name, "start", "small")
    f.cells(90, y, 40, 28, ["l0", "l1", "l2", "l3"], [fill] * 4, "small")
    f.text(262, y + 18, "...", kind="small")
    f.cells(276, y, 40, 28, ["l31"], [fill], "small")
    f.arrow(320, y + 14, 392, y + 14)
    f.text(356, y + 8, "5 exchanges", kind="small")
    f.box(394, y, 60, 28, "sum", fill, "small")
    f.arrow(456, y + 14, 506, 134)
f.text(545, 112, "shared memory", kind="small")
f.cells(508, 120, 36, 28, ["s0", "s1"], ["a", "b"], "small")
f.arrow(544, 150, 544, 196)
f.box(470, 198, 150, 30, "every warp adds them", "c", "small")
f.text(20, 216, "float64 all the way: the squares of a large row are no float32",
       "start", "small")
f.save("row-reduction")
