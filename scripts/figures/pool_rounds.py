"""The rounds of the device's pool: claims, scan and drops."""
from draw import Figure

# Claims: six requests and the rows they want.
f = Figure(640, 218, "Six requests claim their rows; the fifth wants a row "
           "that the second has claimed, and ends the round")
rows = [2, 0, 3, 5, 0, 1]
f.text(20, 42, "request", anchor="start", kind="small")
f.text(20, 72, "wants row", anchor="start", kind="small")
for i, row in enumerate(rows):
    x = 110 + 80 * i
    f.text(x + 30, 42, i, kind="mono")
    f.box(x, 54, 60, 26, row, fill="c" if i < 4 else "e", kind="mono")
f.line(422, 30, 422, 92, dash=True)
f.text(266, 20, "round 1", kind="small")
f.text(510, 20, "round 2", kind="small")
claims = [1, 5, 0, 2, "", 3]
f.text(20, 172, "claim of row", anchor="start", kind="small")
for r, claim in enumerate(claims):
    x = 110 + 80 * r
    f.box(x, 154, 60, 26, claim, fill="a" if claim != "" else "paper",
          kind="mono")
    f.text(x + 30, 198, r, kind="mono")
for i, row in enumerate(rows):
    lost = i == 4
    f.arrow(140 + 80 * i, 80, 140 + 80 * row, 154, dash=lost)
f.save("pool-claims")

# The scan: what requests want, the sums, and the stack.
f = Figure(640, 262, "Four requests want 2, 0, 3 and 1 blocks; the running "
           "sums say at which depth of the stack each begins")
wants, sums = [2, 0, 3, 1], [0, 2, 2, 5]
f.text(20, 42, "request", anchor="start", kind="small")
f.text(20, 72, "wants", anchor="start", kind="small")
f.text(20, 106, "begins at", anchor="start", kind="small")
tints = ["a", "e", "b", "c"]
for i in range(4):
    x = 110 + 56 * i
    f.text(x + 23, 42, i, kind="mono")
    f.box(x, 54, 46, 26, wants[i], fill=tints[i], kind="mono")
    f.box(x, 88, 46, 26, sums[i], kind="mono")
f.text(20, 160, "piece", anchor="start", kind="small")
f.text(20, 190, "owner", anchor="start", kind="small")
f.text(20, 224, "block", anchor="start", kind="small")
owner = [0, 0, 2, 2, 2, 3]
stack = [9, 4, 7, 6, 3, 8]
for j in range(6):
    x = 110 + 40 * j
    f.text(x + 18, 160, j, kind="mono")
    f.box(x, 172, 36, 26, owner[j], fill=tints[owner[j]], kind="mono")
    f.box(x, 206, 36, 26, stack[j], fill=tints[owner[j]], kind="mono")
f.text(110, 252, "the thread of each piece finds its owner by halving",
       anchor="start", kind="small")
for k, (title, x) in enumerate([("stack before", 440), ("after", 545)]):
    f.text(x + 28, 20, title, kind="small")
    for d in range(8):
        y = 30 + 26 * d
        full = [9, 4, 7, 6, 3, 8, 1, 5]
        tint = tints[owner[d]] if d < 6 else "paper"
        if k == 0 or d >= 6:
            f.box(x, y, 56, 24, full[d], fill=tint, kind="mono")
    f.text(x + 64, 47 if k == 0 else 203, "top", anchor="start", kind="small")
f.save("pool-scan")

# Drops: two rows give back seven entries, two of them one block.
f = Figure(640, 250, "Two rows give back seven entries, numbered from each "
           "row's last to its first; block 4 is dropped twice and pushed by "
           "the later one")
f.text(20, 38, "row 3", anchor="start", kind="small")
f.text(20, 72, "row 1", anchor="start", kind="small")
f.cells(80, 22, 44, 26, [4, 6, 2], ["b", "paper", "paper"])
f.cells(80, 56, 44, 26, [4, 7, 0, 5], ["b", "paper", "d", "paper"])
f.text(300, 72, "block 0 has another holder", anchor="start", kind="small")
blocks = [2, 6, 4, 5, 0, 7, 4]
count = [0, 0, 0, 0, 1, 0, 0]
last = [1, 1, 0, 1, 1, 1, 1]
labels = [("drop", 110), ("of block", 136), ("the last of it", 166),
          ("count is 0", 196), ("place", 226)]
for name, y in labels:
    f.text(20, y, name, anchor="start", kind="small")
place = 0
for j, block in enumerate(blocks):
    x = 130 + 66 * j
    push = last[j] and not count[j]
    f.text(x + 25, 110, j, kind="mono")
    f.box(x, 119, 50, 24, block, kind="mono",
          fill="b" if block == 4 else "d" if block == 0 else "paper")
    f.text(x + 25, 166, "yes" if last[j] else "no", kind="small")
    f.text(x + 25, 196, "yes" if not count[j] else "no", kind="small")
    f.box(x, 209, 50, 24, place if push else "", kind="mono",
          fill="c" if push else "paper")
    place += push
f.save("pool-drops")
