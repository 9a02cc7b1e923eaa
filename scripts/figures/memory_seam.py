"""One allocation: the gap with its header, then what the caller sees."""
from draw import Figure

f = Figure(640, 150, "An allocation holds a gap, a header of 64 bytes with "
           "raw pointer, size and mark, and then the caller's bytes")
f.box(20, 50, 70, 44, "gap", "paper", "small")
f.cells(90, 50, 70, 44, ["raw", "bytes", "mark"], ["b", "b", "b"])
f.box(300, 50, 300, 44, "the caller's bytes, all zero", "a")
f.text(195, 40, "header: 64 bytes", kind="small")
f.arrow(20, 128, 20, 98)
f.text(28, 132, "what calloc returned", "start", "small")
f.arrow(300, 128, 300, 98)
f.text(308, 132, "what the caller holds: a multiple of 64", "start", "small")
f.save("memory-seam")
