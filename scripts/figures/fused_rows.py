"""A batch of rows from the fused linear layer."""
from draw import Figure

f = Figure(640, 210, "Rows of query, key and value heads; the stride leads "
           "from one token's heads to the next token's")
for t in range(3):
    y = 50 + 42 * t
    f.text(60, y + 20, f"token {t}", "end", "small")
    f.cells(70, y, 60, 30, ["q0", "q1", "q2", "q3"], ["a"] * 4)
    f.cells(310, y, 60, 30, ["k0", "k1"], ["b"] * 2)
    f.cells(430, y, 60, 30, ["v0", "v1"], ["c"] * 2)
f.text(100, 40, "D floats", kind="small")
f.line(70, 186, 550, 186)
f.line(70, 180, 70, 192)
f.line(550, 180, 550, 192)
f.text(310, 204, "stride = (H + 2 K) D floats", kind="small")
f.arrow(310, 22, 310, 48)
f.text(316, 20, "rope for the keys starts here: heads = K, the same stride",
       "start", "small")
f.save("fused-rows")
