"""From a position to a slot to the bytes of K."""
from draw import Figure

f = Figure(640, 260, "Position 8 of a sequence: entry 2, offset 0, block 4, "
           "slot 16, and where it lies in the memory of K")
f.box(20, 30, 110, 40, "position 8", fill="a")
f.arrow(130, 42, 220, 42)
f.text(175, 36, "8 / 4", kind="small")
f.arrow(130, 60, 220, 60)
f.text(175, 74, "8 % 4", kind="small")
f.box(220, 24, 80, 26, "entry 2", fill="a")
f.box(220, 54, 80, 26, "offset 0", fill="a")
f.arrow(300, 37, 370, 37)
f.text(335, 30, "table", kind="small")
f.box(370, 24, 80, 26, "block 4", fill="c")
f.arrow(450, 37, 510, 48)
f.line(300, 67, 450, 67)
f.arrow(450, 67, 510, 58)
f.box(510, 36, 110, 34, "slot 4 * 4 + 0\n= 16", fill="c", kind="small")

f.text(20, 122, "K of one layer: block, kv head, offset, head dimension",
       anchor="start")
X = 20
for b in range(6):
    f.text(X + 100 * b + 50, 142, f"block {b}", kind="small")
    for h in range(2):
        for o in range(4):
            here = b == 4 and o == 0
            f.box(X + 100 * b + 50 * h + 12.5 * o, 150, 12.5, 34, "",
                  fill="c" if here else ("e" if h else "paper"))
    f.line(X + 100 * b, 146, X + 100 * b, 192)
f.line(X + 600, 146, X + 600, 192)
f.text(420, 212, "head 0", anchor="end", kind="small")
f.text(482, 212, "head 1", anchor="start", kind="small")
f.arrow(426, 228, 426, 188)
f.arrow(476, 228, 476, 188)
f.text(451, 244, "one slot: one row of D values in every kv head",
       kind="small")
f.save("slot-mapping")
