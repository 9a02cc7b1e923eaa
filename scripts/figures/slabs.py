"""A reserved range, its spans, and the slabs that stand behind it."""
from draw import Figure

f = Figure(640, 240, "Spans of a reserved range: three allocations with red "
           "zones, and the slabs behind the range, of which those without a "
           "user have no physical memory")
f.text(20, 24, "spans of the range", "start", "small")
x = 20
for width, words, fill in ((60, "a", "a"), (14, "", "d"), (120, "b", "a"),
                           (14, "", "d"), (100, "free", "paper"),
                           (100, "c", "a"), (14, "", "d"),
                           (178, "free", "paper")):
    f.box(x, 34, width, 36, words, fill, "small")
    x += width
f.text(20, 112, "slabs, and how many allocations use each", "start", "small")
f.cells(20, 122, 100, 36, ["2", "1", "0", "1", "1", "0"],
        ["c", "c", "paper", "c", "c", "paper"])
for i in (0, 1, 3, 4):
    f.arrow(70 + 100 * i, 158, 70 + 100 * i, 190)
    f.box(28 + 100 * i, 190, 84, 30, "2 MiB", "e", "small")
for i in range(7):
    f.line(20 + 100 * i, 72, 20 + 100 * i, 98, dash=True)
f.save("slabs")
