"""Two rows of a block table, and the pool that they point into."""
from draw import Figure

f = Figure(640, 316, "Two sequences, their rows in the block table, and the "
           "pool of blocks that the entries name")
HEIGHT, LEFT, POOL = 26, 130, 330

f.text(LEFT + 20, 22, "table")
f.text(POOL + 68, 22, "pool, 4 tokens a block")
rows = [("sequence 7", "9 tokens", 34, [0, 1, 4, -1], "a"),
        ("sequence 3", "6 tokens", 186, [2, 3, -1, -1], "b")]
blocks = [("a", [0, 1, 2, 3]), ("a", [4, 5, 6, 7]), ("b", [0, 1, 2, 3]),
          ("b", [4, 5]), ("a", [8]), ("paper", [])]
for b, (fill, held) in enumerate(blocks):
    y = 34 + 46 * b
    f.text(POOL - 8, y + 18, f"block {b}", anchor="end", kind="small")
    for k in range(4):
        f.box(POOL + 34 * k, y, 34, HEIGHT, held[k] if k < len(held) else "",
              fill=fill if k < len(held) else "paper", kind="mono")
    f.text(POOL + 146, y + 18, f"slots {4 * b} .. {4 * b + 3}" if held
           else f"slots {4 * b} .. {4 * b + 3}, free", anchor="start",
           kind="small")
for name, tokens, y, entries, fill in rows:
    f.text(16, y + 18, name, anchor="start", kind="small")
    f.text(16, y + 34, tokens, anchor="start", kind="small")
    for i, block in enumerate(entries):
        top = y + HEIGHT * i
        f.text(LEFT - 8, top + 18, f"{i}", anchor="end", kind="small")
        f.box(LEFT, top, 40, HEIGHT, block, fill=fill if block >= 0 else "e",
              kind="mono")
        if block >= 0:
            f.arrow(LEFT + 42, top + 13, POOL - 52, 34 + 46 * block + 13)
f.save("block-table")
