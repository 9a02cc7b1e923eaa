"""A cell's marks, and the eras that put accesses in order."""
from draw import Figure

f = Figure(640, 330, "A cell holds the marks of the last write and the last "
           "reads; eras between barriers order them")
f.text(20, 24, "the cell of four bytes of memory", "start", "small")
f.cells(20, 34, 120, 30, ["last write", "last read", "second reader",
                          "other block"], ["d", "a", "a", "a"], "small")
f.line(20, 64, 20, 84)
f.line(140, 64, 330, 84)
f.cells(20, 84, 103, 30, ["era", "line of code", "who"], ["paper"] * 3,
        "small")
f.line(226, 114, 226, 134)
f.line(329, 114, 560, 134)
f.cells(226, 134, 111, 30, ["thread", "atomic", "warp's meetings"],
        ["paper"] * 3, "small")
top = 210
f.text(20, top - 12, "the eras of one block", "start", "small")
for i, (label, fill) in enumerate([("era 41", "e"), ("era 42", "paper"),
                                   ("era 43", "paper")]):
    f.box(20 + 200 * i, top, 196, 74, "", fill)
    f.text(30 + 200 * i, top + 16, label, "start", "small")
for i in (1, 2):
    f.line(18 + 200 * i, top - 8, 18 + 200 * i, top + 92)
    f.text(18 + 200 * i, top + 106, "__syncthreads", kind="small")
f.box(60, top + 30, 110, 26, "write, thread 40", "d", "small")
f.box(240, top + 30, 80, 26, "read, 3", "a", "small")
f.box(328, top + 30, 80, 26, "write, 40", "d", "small")
f.arrow(172, top + 43, 238, top + 43)
f.text(198, top + 68, "ordered", "end", "small")
f.arrow(368, top + 30, 282, top + 30, True, 30)
f.text(324, top + 70, "same era: a race", kind="small")
f.box(470, top + 30, 110, 26, "read, thread 3", "a", "small")
f.save("race-cell")
