"""The layout of one block of a cache: [K][B][D]."""
from draw import Figure

f = Figure(640, 270, "A pool of blocks; one block holds kv heads, each head "
           "a run of B tokens of D numbers")
f.cells(40, 30, 112, 34, [f"block {i}" for i in range(5)],
        ["e", "e", "b", "e", "e"], "")
f.text(320, 20, "num_blocks", kind="small")
f.line(264, 64, 90, 100)
f.line(376, 64, 550, 100)
f.cells(90, 100, 115, 34, [f"kv head {h}" for h in range(4)],
        ["paper", "a", "paper", "paper"], "")
f.text(320, 92, "K heads of one block", kind="small")
f.line(205, 134, 60, 170)
f.line(320, 134, 580, 170)
f.cells(60, 170, 65, 34, [f"token {j}" for j in range(8)],
        ["c"] + ["paper"] * 7, "small")
f.text(320, 162, "B tokens of one head, one contiguous run", kind="small")
f.line(60, 204, 60, 226)
f.line(125, 204, 316, 226)
f.cells(60, 226, 32, 26, ["x0", "x1", "x2", "x3", "x4", "x5", "...", ""],
        ["c"] * 8)
f.text(410, 243, "D numbers of one key", kind="small")
f.save("kv-layout")
