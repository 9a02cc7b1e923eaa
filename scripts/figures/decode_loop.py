"""Steps with and without the host, the arrays of the steps, and a graph."""
from draw import Figure

# Two time lines: the old way and the loop.
f = Figure(640, 262, "By the old way host and device wait for each other in "
           "every step; in the loop the device works and the host waits once")


def lane(y, name):
    f.text(16, y + 17, name, anchor="start", kind="small")
    f.line(70, y + 26, 625, y + 26)


f.text(16, 20, "asking the host", anchor="start")
lane(34, "host")
lane(78, "device")
x = 74
for i in range(3):
    f.box(x, 36, 40, 24, "send", fill="b", kind="small")
    f.arrow(x + 40, 60, x + 52, 80)
    f.box(x + 52, 80, 62, 24, f"step {i + 1}", fill="a", kind="small")
    f.arrow(x + 114, 80, x + 124, 60)
    f.box(x + 122, 36, 48, 24, "decide", fill="b", kind="small")
    x += 182
f.text(16, 146, "asking nobody", anchor="start")
lane(160, "host")
lane(204, "device")
f.box(74, 162, 40, 24, "send", fill="b", kind="small")
for i in range(5):
    f.box(122 + 26 * i, 162, 22, 24, "go", fill="e", kind="small")
f.box(440, 162, 48, 24, "fetch", fill="b", kind="small")
f.arrow(114, 186, 126, 206)
for i in range(5):
    f.box(126 + 62 * i, 206, 60, 24, f"step {i + 1}", fill="a", kind="small")
f.arrow(434, 206, 444, 186)
f.text(620, 252, "time", anchor="end", kind="small")
f.save("step-round-trips")

# Which op fills which arrays.
f = Figure(640, 318, "The ops of a step from left to right, and the arrays "
           "that each fills for the next")
ops = [("step_request", "c", ["request"]),
       ("pool_extend", "b", ["grant"]),
       ("step_place", "c", ["position", "slot", "length", "copy_from, copy_to",
                            "keep"]),
       ("the model", "a", ["drawn"]),
       ("step_append", "c", ["token", "tokens", "sampling", "count", "end"])]
for i, (name, tint, fills) in enumerate(ops):
    x = 12 + 126 * i
    f.box(x, 30, 112, 34, name, fill=tint, kind="mono")
    if i:
        f.arrow(x - 14, 47, x, 47)
    for k, array in enumerate(fills):
        f.box(x, 84 + 30 * k, 112, 26, array, kind="small")
f.text(68, 140, "(N) each: one", kind="small")
f.text(68, 155, "of a sequence", kind="small")
f.line(572, 236, 572, 262)
f.line(572, 262, 68, 262)
f.arrow(68, 262, 68, 172)
f.text(320, 256, "the last token is the next input; an end stays an end",
       kind="small")
f.box(12, 280, 112, 26, "table, length", fill="e", kind="small")
f.text(136, 297, "the pool's own arrays: read by step_request and "
       "step_place, and by attention", anchor="start", kind="small")
f.save("step-arrays")

# The recorded list of a step.
f = Figure(640, 292, "The list of a recorded step; what is fixed in each "
           "entry, and which arrays it reads anew")
rows = [("request_tokens", "N, addresses", "lengths, ends"),
        ("extend_rows", "N, addresses", "requests, stack, table"),
        ("place_tokens", "N, window, addresses", "grants, table"),
        ("embed", "N, addresses", "tokens"),
        ("13 ops a layer", "shapes, weights, bound", "positions, slots, "
         "lengths, table"),
        ("norm, linear, sample", "shapes, weights", "sampling"),
        ("append_tokens", "N, stops, addresses", "drawn, counts"),
        ("release_rows", "N, addresses", "keeps")]
f.text(110, 22, "kernel", kind="small")
f.text(300, 22, "fixed when recorded", kind="small")
f.text(490, 22, "read at each launch", kind="small")
for i, (kernel, fixed, read) in enumerate(rows):
    y = 32 + 31 * i
    f.box(24, y, 172, 25, kernel, fill="a", kind="mono")
    f.box(208, y, 184, 25, fixed, fill="e", kind="small")
    f.box(404, y, 200, 25, read, fill="c", kind="small")
    if i:
        f.arrow(110, y - 6, 110, y)
f.save("step-graph")
