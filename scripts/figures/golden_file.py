"""The parts of one golden file."""
from draw import Figure

f = Figure(640, 190, "A golden file: header length, JSON header, then inputs "
           "and outputs as raw tensors")
f.box(10, 50, 70, 50, "length\n8 bytes", "e", "small")
f.box(80, 50, 170, 50, "JSON header", "b")
f.cells(250, 50, 75, 50, ["x", "weight"], ["a", "a"])
f.box(400, 50, 90, 50, "...", "a", "mono")
f.box(490, 50, 140, 50, "out", "c", "mono")
f.text(370, 40, "inputs", kind="small")
f.text(560, 40, "the answer", kind="small")
f.arrow(165, 104, 165, 130)
f.text(20, 148, '"__metadata__": op, layout, seed, generator, tolerance, epsilon',
       "start", "mono")
f.text(20, 168, '"x": {"dtype": "F32", "shape": [7, 96], "data_offsets": ...}',
       "start", "mono")
f.save("golden-file")
