"""The walk through a block table."""
from draw import Figure

f = Figure(640, 320, "Position 6 with blocks of four: entry 1 of the row, "
           "offset 2; the entry names block 5, where the key lies")
f.text(20, 30, "sequence 1, nine tokens, B = 4", "start")
f.cells(20, 42, 40, 26, range(9),
        ["a"] * 4 + ["b"] * 2 + ["d"] + ["b"] + ["c"])
f.text(400, 60, "position 6 = 1 * 4 + 2", "start", "mono")
f.text(20, 108, "block table", "start")
f.text(20, 134, "row 0", "start", "small")
f.cells(70, 118, 50, 26, [4, 0, -1, -1], ["e"] * 4)
f.text(20, 160, "row 1", "start", "small")
f.cells(70, 144, 50, 26, [7, 5, 2, -1], ["a", "b", "c", "e"])
f.arrow(280, 70, 148, 142)
f.text(232, 112, "6 / 4 = entry 1", "start", "small")
f.text(20, 212, "pool", "start")
for block in range(8):
    fill = {7: "a", 5: "b", 2: "c"}.get(block, "paper")
    x = 20 + 76 * block
    for j in range(4):
        used = not (block == 2 and j > 0)
        shade = "d" if block == 5 and j == 2 else fill if used else "paper"
        f.box(x + 17 * j, 224, 17, 30, "", shade)
    f.text(x + 34, 272, f"block {block}", kind="small")
f.arrow(148, 172, 420, 220)
f.text(290, 178, "block 5", "start", "small")
f.text(434, 290, "6 mod 4 = offset 2, the third cell", kind="small")
f.save("paged-walk")
