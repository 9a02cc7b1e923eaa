"""An activation in two halves, and the products that share a sum."""
from draw import Figure

f = Figure(640, 230, "An activation of 24 bits becomes a high part and a low "
           "part of eleven bits each; both are multiplied with the same "
           "weights and added to one sum")
cell = 13
f.text(20, 46, "x, float32", "start", "small")
f.cells(110, 30, cell, 24, [""] * 24, ["a"] * 11 + ["b"] * 11 + ["e"] * 2)
f.text(110 + 24 * cell + 10, 46, "24 bits", "start", "small")
f.text(20, 106, "high, float16", "start", "small")
f.cells(110, 90, cell, 24, [""] * 11, ["a"] * 11)
f.text(20, 156, "low, float16", "start", "small")
f.cells(110 + 11 * cell, 140, cell, 24, [""] * 11, ["b"] * 11)
f.arrow(110 + 5.5 * cell, 56, 110 + 5.5 * cell, 88)
f.arrow(110 + 16.5 * cell, 56, 110 + 16.5 * cell, 138)
f.text(110 + 23 * cell, 72, "lost", kind="small")
f.box(450, 86, 80, 32, "W · high", "c", "small")
f.box(450, 136, 80, 32, "W · low", "c", "small")
f.arrow(110 + 11 * cell + 4, 102, 448, 102)
f.arrow(110 + 22 * cell + 4, 152, 448, 152)
f.box(560, 100, 66, 52, "one sum,\nfloat32", "e", "small")
f.arrow(530, 104, 558, 116)
f.arrow(530, 150, 558, 138)
f.text(320, 206, "the same weights twice, and no bit of them rounded",
       kind="small")
f.save("device-halves")
