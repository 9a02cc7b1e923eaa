"""A sliding window over blocks."""
from draw import Figure

f = Figure(640, 210, "Twelve tokens in blocks of four and a window of six: "
           "the query at position 11 sees 6 to 11; block 0 was given back")
for j in range(12):
    fill = "e" if j < 4 else "paper" if j < 6 else "a"
    f.box(60 + 42 * j, 50, 42, 28, j, fill, "mono")
f.text(144, 40, "behind the window, given back", kind="small")
f.text(438, 40, "window: 0 <= 11 - j < 6", kind="small")
for i in range(3):
    f.line(60 + 168 * i, 46, 60 + 168 * i, 96)
f.line(564, 46, 564, 96)
f.text(20, 135, "row", "start", "small")
f.cells(60, 118, 168, 28, [-1, 3, 6], ["e", "b", "b"])
f.box(580, 50, 44, 28, "q11", "c", "mono")
f.text(228 + 42, 98, "held, not read", kind="small")
f.line(312, 84, 564, 84)
f.text(438, 98, "read by q11", kind="small")
f.text(312, 176, "entry i stands for positions 4 i to 4 i + 3, whatever was "
       "given back", kind="small")
f.save("window")
