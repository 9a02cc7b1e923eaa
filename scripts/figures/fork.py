"""Two sessions of one load: what they share, and what each has for itself."""
from draw import Figure

f = Figure(640, 300, "Two sessions point at one core with model, blocks and "
           "loop; both rows hold blocks 0 and 1, and each has a last block of "
           "its own")
f.box(40, 20, 150, 70, "session 0\nlength 11\nstored 10", fill="a")
f.box(450, 20, 150, 70, "session 1\nlength 12\nstored 11", fill="b")
f.box(230, 30, 180, 50, "model, blocks, loop\n2 sessions", fill="e")
f.arrow(190, 55, 228, 55)
f.arrow(450, 55, 412, 55)
f.text(320, 98, "the core: goes with the last of them", kind="small")


def row(x, entries, fill):
    f.cells(x, 122, 50, 28, entries, ["c", "c", fill])


row(40, [0, 1, 2], "a")
row(450, [0, 1, 3], "b")
f.arrow(115, 90, 115, 120)
f.arrow(525, 90, 525, 120)
f.text(320, 140, "rows of the block table", kind="small")
for x, number, values, fill in ((40, 0, "0 1 2 3", "c"),
                                (190, 1, "4 5 6 7", "c"),
                                (340, 2, "8 9", "a"),
                                (490, 3, "8 9 10'", "b")):
    f.box(x, 200, 110, 30, values, fill=fill, kind="mono")
    f.text(x + 55, 248, f"block {number}", kind="small")
f.arrow(65, 150, 85, 198)
f.arrow(115, 150, 235, 198)
f.arrow(165, 150, 385, 198)
f.arrow(475, 150, 110, 198, dash=True)
f.arrow(525, 150, 260, 198, dash=True)
f.arrow(575, 150, 550, 198)
f.text(320, 282, "Full blocks stay shared. Session 1 wrote first into the last "
       "one and got a copy of it.", kind="small")
f.save("fork")
