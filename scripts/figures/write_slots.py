"""Slots: where the rows of a batch are written."""
from draw import Figure

f = Figure(640, 230, "A batch of five tokens with slots 2, 3, 8, -1 and 21; "
           "each row goes to its slot, -1 is dropped")
f.text(20, 40, "token of the batch", "start", "small")
f.cells(150, 24, 70, 28, ["t0", "t1", "t2", "t3", "t4"],
        ["a", "a", "b", "e", "c"])
f.text(20, 74, "slot", "start", "small")
f.cells(150, 58, 70, 26, [2, 3, 8, -1, 21], ["a", "a", "b", "e", "c"])
names = {2: "a", 3: "a", 8: "b", 21: "c"}
for block in range(6):
    x = 22 + 102 * block
    for j in range(4):
        slot = 4 * block + j
        f.box(x + 24 * j, 150, 24, 28, slot, names.get(slot, "paper"),
              "small")
    f.text(x + 48, 198, f"block {block}", kind="small")
f.text(320, 220, "slot = block * 4 + offset", kind="mono")
for x, slot in ((185, 2), (255, 3), (325, 8), (465, 21)):
    f.arrow(x, 86, 34 + 102 * (slot // 4) + 24 * (slot % 4), 148)
f.text(395, 106, "dropped", kind="small")
f.save("write-slots")
