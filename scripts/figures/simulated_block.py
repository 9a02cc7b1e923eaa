"""The fibers of a block at a barrier."""
from draw import Figure

f = Figure(640, 262, "Eight stacks of two warps: seven lanes have stopped in "
           "the barrier, the last one runs and will wake them")
LEFT, STEP, WIDTH = 60, 66, 50
for lane in range(8):
    x = LEFT + STEP * lane + (24 if lane > 3 else 0)
    last = lane == 6
    f.text(x + WIDTH / 2, 42, f"lane {lane % 4}", kind="small")
    f.box(x, 50, WIDTH, 36, "kernel", "c", "small")
    f.box(x, 86, WIDTH, 30, "barrier", "a", "small")
    f.box(x, 116, WIDTH, 18, "", "b" if last else "e")
    f.text(x + WIDTH / 2, 129, "runs" if last else "saved", kind="small")
    f.box(x, 134, WIDTH, 40)
    f.box(x, 174, WIDTH, 14, "", "ink")
f.text(LEFT + 2 * STEP - 8, 22, "warp 0")
f.text(LEFT + 6 * STEP + 16, 22, "warp 1")
f.text(LEFT - 8, 71, "stack", "end", "small")
f.text(LEFT - 8, 185, "guard", "end", "small")
f.box(180, 212, 280, 34, "arrived 8 of 8 alive: wake all", "b")
f.arrow(LEFT + 6 * STEP + 24 + WIDTH / 2, 192, 462, 222)
f.arrow(250, 210, LEFT + 2 * STEP + WIDTH / 2, 192)
f.save("simulated-block")
