"""The two sides of Folio and the table of functions that joins them."""
from draw import Figure

f = Figure(640, 250, "The model and the engine call one table of functions; "
           "the CPU backend, the GPU backend and the null backend fill it")
f.box(190, 10, 260, 40, "model, engine", "e")
f.arrow(320, 50, 320, 78)
f.text(330, 69, "names no backend", "start", "small")
f.box(60, 80, 520, 56, "", "paper")
f.text(72, 97, "fo_backend", "start", "mono")
f.cells(72, 104, 62, 24,
        ["open", "alloc", "upload", "embed", "linear", "rope", "sample",
         "pool_..."], ["e", "c", "c", "a", "a", "a", "a", "b"])
f.arrow(150, 178, 150, 140)
f.arrow(320, 178, 320, 140)
f.arrow(490, 178, 490, 140)
f.box(70, 180, 160, 50, "src/cpu\nrecto: to be believed", "c", "small")
f.box(240, 180, 160, 50, "tests/null_backend.c\nthe smallest legal one", "e",
      "small")
f.box(410, 180, 160, 50, "src/cuda\nverso: to be fast", "b", "small")
f.save("contract")
