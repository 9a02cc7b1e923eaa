"""A session's sequence: what is stored, what is drawn, what is wanted next."""
from draw import Figure

f = Figure(640, 250, "Nine tokens of a sequence: eight are stored in two "
           "blocks of four, the ninth has been drawn and is not stored yet")

words = ["<s>", "A", " page", " holds", " many", " blocks", " of", " the",
         " same"]
f.text(16, 48, "tokens", "start")
f.cells(90, 30, 54, 30, words, ["a"] * 8 + ["b"], "small")
f.cells(90 + 9 * 54, 30, 54, 30, ["?"], ["paper"], "small")
f.text(16, 114, "K and V", "start")
for i in range(8):
    f.arrow(117 + 54 * i, 60, 117 + 54 * i, 96)
f.cells(90, 98, 54, 26, ["0", "1", "2", "3"], ["c"] * 4)
f.cells(90 + 216, 98, 54, 26, ["0", "1", "2", "3"], ["c"] * 4)
f.text(198, 142, "block 0", kind="small")
f.text(414, 142, "block 1", kind="small")
f.line(90, 166, 522, 166)
f.line(90, 161, 90, 171)
f.line(522, 161, 522, 171)
f.text(306, 184, "stored = 8")
f.line(90, 202, 576, 202)
f.line(90, 197, 90, 207)
f.line(576, 197, 576, 207)
f.text(306, 220, "length = 9")
f.text(549, 84, "last: drawn,", kind="small")
f.text(549, 98, "not yet run", kind="small")
f.text(603, 24, "next draw", kind="small")
f.text(306, 242, "The draw at position 9 runs token 8 first, and takes random "
       "number 9 of the seed.", kind="small")
f.save("session")
