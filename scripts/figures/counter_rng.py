"""A number by counter: any cell of the stream can be asked for directly."""
from draw import Figure

f = Figure(640, 190, "Philox takes seed, stream and counter and yields four "
           "words; each counter stands alone")
f.box(20, 30, 110, 30, "seed (key)", "b", "small")
f.box(20, 70, 110, 30, "stream", "a", "small")
f.box(20, 110, 110, 30, "counter", "a", "small")
for y in (45, 85, 125):
    f.arrow(130, y, 196, 85)
f.box(200, 60, 150, 50, "ten rounds of\nmultiply and mix", "e", "small")
f.arrow(350, 85, 396, 85)
f.cells(400, 70, 52, 30, ["w0", "w1", "w2", "w3"], ["c"] * 4)
f.arrow(426, 104, 426, 138)
f.text(426, 154, "the top 24 bits: one draw in [0, 1)", kind="small")
f.text(275, 180, "no state is kept: counter 1000 costs what counter 0 costs",
       kind="small")
f.save("counter-rng")
