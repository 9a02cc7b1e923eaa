"""The rooms of the house, and which of them may see which."""
from draw import Figure

f = Figure(640, 400, "app includes server, server engine, engine model; model, cpu, "
           "cuda and sim include common; the table of functions in common stands "
           "between those that call an op and those that compute it")

f.box(60, 14, 200, 42, "src/app\nthe folio command", fill="d")
f.box(60, 74, 200, 42, "src/server\nHTTP, the model's host", fill="b")
f.box(60, 134, 200, 42, "src/engine\nsequences, blocks, sessions", fill="b")
f.box(60, 196, 200, 48, "src/model\nweights, tokens, forward pass",
      fill="b")
f.box(320, 196, 90, 48, "src/cpu\nthe recto", fill="c")
f.box(425, 196, 90, 48, "src/cuda\nthe verso", fill="c")
f.box(530, 196, 90, 48, "src/sim\nsimulator", fill="e")

f.box(20, 290, 600, 92, fill="a")
f.text(40, 312, "src/common", anchor="start")
f.text(40, 332, "status, memory, numbers,", anchor="start", kind="small")
f.text(40, 348, "files, logs, and the contract:", anchor="start", kind="small")
f.text(455, 312, "backend.h, one table of functions for a device",
       kind="small")
f.cells(260, 324, 68, 30, ["open", "alloc", "linear", "rope", "..."])
f.text(430, 373, "every op: device, output, inputs, parameters, error",
       kind="small")

f.arrow(160, 56, 160, 73)
f.arrow(160, 116, 160, 133)
f.arrow(160, 176, 160, 195)
f.arrow(120, 244, 120, 288)
for x in (365, 470, 575):
    f.arrow(x, 244, x, 288)
f.arrow(515, 220, 529, 220, dash=True)
f.arrow(260, 36, 360, 194, bend=-14)
f.text(352, 92, "app alone names a device", anchor="start", kind="small")
f.arrow(210, 244, 290, 322, dash=True, bend=-10)
f.text(262, 262, "calls an op", anchor="start", kind="small")
f.save("lit-house")
