"""What the long day knows of a guest, and what the engine knows."""
from draw import Figure

f = Figure(640, 250, "A guest's text names rows of a stock of tokens; the "
           "manager's table names blocks; the audit and the judge compare them")
f.text(20, 28, "stock: rows of K and V, drawn once", "start", "small")
f.cells(20, 36, 40, 28, ["r0", "r1", "r2", "r3", "r4", "r5", "..."],
        ["c"] * 7)
f.text(270, 108, "a guest of 6 tokens", "end", "small")
f.cells(20, 116, 40, 28, ["2", "3", "4", "5", "6", "7"], ["a"] * 6)
f.text(20, 164, "text: its token p is this row", "start", "small")
f.arrow(40, 114, 118, 68)
f.text(370, 28, "cache: blocks of 4 tokens", "start", "small")
f.cells(370, 36, 60, 28, ["0", "1", "2", "3"], ["b", "paper", "b", "paper"])
f.text(558, 134, "its table", "start", "small")
f.cells(370, 116, 60, 28, ["2", "0", "-1"], ["b", "b", "e"])
f.arrow(400, 114, 515, 68)
f.arrow(460, 114, 402, 68)
f.box(20, 196, 270, 40, "audit: 6 tokens, so 2 blocks", "paper", "small")
f.box(350, 196, 270, 40, "judge: attention over the stock equals\n"
      "attention over the blocks", "paper", "small")
f.arrow(150, 168, 150, 194)
f.arrow(270, 134, 366, 134, dash=True)
f.arrow(480, 148, 480, 194)
f.save("stress-day")
