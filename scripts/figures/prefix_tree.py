"""Two sequences in the blocks that they share, and the tree of their chains."""
from draw import Figure

COMMON = [["You", "are", "a", "kind"], ["and", "brief", "clerk", "."]]
FIRST = [["What", "is", "a", "row", ], ["?", "A", "row", "is"]]
SECOND = [["What", "is", "the", "time"]]

f = Figure(640, 306, "A kept and a running sequence name the same two blocks; "
           "each goes on in blocks of its own")
f.text(150, 22, "block table")
f.text(470, 22, "pool, 4 tokens a block")
pool = [(COMMON[0], "c"), (COMMON[1], "c"), (FIRST[0], "a"), (FIRST[1], "a"),
        (SECOND[0], "b"), (["Just", "", "", ""], "b")]
for b, (words, fill) in enumerate(pool):
    y = 36 + 42 * b
    f.text(358, y + 18, f"block {b}", anchor="end", kind="small")
    f.cells(366, y, 54, 26, words, [fill if w else "paper" for w in words])
rows = [("sequence 1", "kept, 16 tokens", 50, [0, 1, 2, 3], "a"),
        ("sequence 2", "runs, 13 tokens", 180, [0, 1, 4, 5], "b")]
for name, state, y, entries, fill in rows:
    f.text(14, y + 18, name, anchor="start", kind="small")
    f.text(14, y + 34, state, anchor="start", kind="small")
    for i, block in enumerate(entries):
        f.box(130, y + 26 * i, 40, 26, block, fill="c" if block < 2 else fill,
              kind="mono")
        f.arrow(172, y + 26 * i + 13, 310, 36 + 42 * block + 13)
f.save("prefix-blocks")

g = Figure(640, 326, "A tree of chains: two nodes that all sequences hold, and "
           "below them the nodes of each; sequences hang where their chains "
           "end")


def node(x, y, words, fill, kept, used):
    g.cells(x, y, 42, 26, words, [fill] * 4, kind="small")
    g.text(x, y + 40, f"kept {kept}, used {used}", anchor="start", kind="small")


def holder(x, y, words, fill):
    g.box(x, y, 108, 36, words, fill=fill, kind="small")


g.box(14, 20, 62, 26, "root")
node(40, 78, COMMON[0], "c", 2, 9)
g.arrow(45, 46, 74, 76)
node(70, 148, COMMON[1], "c", 2, 9)
g.arrow(150, 104, 160, 146)
node(20, 222, FIRST[0], "a", 1, 7)
node(20, 276, FIRST[1], "a", 1, 7)
node(262, 222, SECOND[0], "b", 0, 0)
node(452, 148, ["How", "are", "you", "?"], "e", 1, 4)
g.arrow(186, 174, 132, 220)
g.arrow(112, 248, 112, 274)
g.arrow(212, 174, 318, 220)
g.arrow(238, 161, 450, 161)
holder(222, 272, "sequence 1\nkept", "a")
g.arrow(220, 289, 190, 289, dash=True)
holder(500, 216, "sequence 2\nruns", "b")
g.arrow(498, 234, 432, 234, dash=True)
holder(482, 76, "sequence 3\nkept", "e")
g.arrow(536, 112, 536, 146, dash=True)
g.text(330, 92, "a bucket is chosen by the hash of the", kind="small",
       anchor="middle")
g.text(330, 108, "parent's hash and the four tokens", kind="small",
       anchor="middle")
g.save("prefix-tree")
