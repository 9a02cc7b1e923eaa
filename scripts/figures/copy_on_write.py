"""A fork, and what happens when one side appends first."""
from draw import Figure

f = Figure(640, 290, "Two rows share two blocks; the one that appends first "
           "gets a copy of the partial one, the other keeps it alone")


def row(x, y, name, entries, fill):
    f.text(x - 8, y + 18, name, anchor="end", kind="small")
    f.cells(x, y, 34, 26, entries, [fill if e != "" else "paper"
                                    for e in entries])


def block(x, y, number, values, count, fills):
    f.text(x - 8, y + 18, f"block {number}", anchor="end", kind="small")
    f.cells(x, y, 30, 26, values, fills)
    f.text(x + 128, y + 18, f"count {count}", anchor="start", kind="small")


SHARED = ["c"] * 4
f.text(160, 22, "after the fork at 6 tokens")
row(70, 40, "row 0", [0, 1, ""], "a")
row(70, 76, "row 1", [0, 1, ""], "b")
block(70, 130, 0, [0, 1, 2, 3], 2, SHARED)
block(70, 166, 1, [4, 5, "", ""], 2, ["c", "c", "paper", "paper"])
block(70, 202, 2, ["", "", "", ""], 0, ["paper"] * 4)

f.text(480, 22, "row 1 stores a seventh token")
row(390, 40, "row 0", [0, 1, ""], "a")
row(390, 76, "row 1", [0, 2, ""], "b")
block(390, 130, 0, [0, 1, 2, 3], 2, SHARED)
block(390, 166, 1, [4, 5, "", ""], 1, ["a", "a", "paper", "paper"])
block(390, 202, 2, [4, 5, "6'", ""], 1, ["b", "b", "b", "paper"])
f.arrow(572, 179, 572, 215, bend=-60)
f.text(596, 200, "copy", anchor="start", kind="small")
f.text(320, 262, "The full block stays shared. Block 1 now has one holder, who "
       "may append in place.", kind="small")
f.save("copy-on-write")
