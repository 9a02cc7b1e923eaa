"""The engine and the books that judge it, and how a trace shrinks."""
from draw import Figure

f = Figure(640, 276, "One operation goes to the engine and to the books, and "
           "after it both must agree; a failing trace is cut until nothing "
           "can be left out")
f.box(20, 30, 120, 36, "operation", "e")
f.box(220, 16, 180, 36, "engine", "a")
f.box(220, 76, 180, 36, "books", "c")
f.arrow(140, 44, 216, 34)
f.arrow(140, 54, 216, 92)
f.box(480, 44, 140, 40, "audit: the same\nnumbers?", "paper", "small")
f.arrow(400, 34, 476, 56)
f.arrow(400, 94, 476, 74)
f.box(220, 126, 180, 30, "tokens when alone", "b", "small")
f.arrow(310, 124, 310, 114)
f.text(20, 186, "a failing trace", "start", "small")
f.cells(20, 194, 20, 24, list("sSesaspssfes"),
        ["e", "d", "e", "e", "e", "e", "d", "e", "e", "d", "e", "e"])
f.text(300, 186, "half of it", "start", "small")
f.cells(300, 194, 20, 24, list("sSspsf"), ["e", "d", "e", "d", "e", "d"])
f.text(460, 186, "no operation can go", "start", "small")
f.cells(460, 194, 20, 24, list("Spf"), ["d", "d", "d"])
f.arrow(264, 206, 296, 206)
f.arrow(424, 206, 456, 206)
f.text(20, 244, "S submit, s step, p preempt, f fork, a abort, e evict",
       "start", "small")
f.text(20, 264, "Each cut is kept if what is left still fails; then the "
       "arguments are made small.", "start", "small")
f.save("engine-trace")
