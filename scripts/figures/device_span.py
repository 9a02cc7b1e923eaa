"""A span of Q8_0: how its bytes arrive, and how the lanes read them back."""
from draw import Figure

f = Figure(640, 250, "A span of Q8_0 blocks: packs of sixteen bytes arrive in "
           "shared memory, and each lane reads back one block of 34 bytes")
x, scale = 20, 4.2
f.text(x, 24, "global memory to shared memory: packs of sixteen bytes, "
       "lane 0, 1, 2 ... of the warp", "start", "small")
for i in range(9):
    if i < 8:
        f.box(x + i * 16 * scale, 34, 16 * scale, 30, f"lane {i}", "a",
              "small")
f.text(x + 8 * 16 * scale + 18, 54, "...")
f.text(x, 100, "the same bytes: blocks of 34, a scale and 32 values", "start",
       "small")
for b in range(4):
    left = x + b * 34 * scale
    width = min(34, 128 - 34 * b) * scale
    f.box(left, 110, 2 * scale, 30, "", "b")
    f.box(left + 2 * scale, 110, width - 2 * scale, 30,
          f"block {b}" if b < 3 else "3", "c", "small")
f.text(x + 8 * 16 * scale + 18, 130, "...")
for b in range(3):
    middle = x + (b * 34 + 17) * scale
    f.arrow(middle, 142, middle, 180)
    f.box(x + b * 34 * scale + 10, 182, 34 * scale - 20, 30,
          f"lane {b}: {9} words", "a", "small")
f.text(x, 236, "even lanes begin at a multiple of four; odd lanes begin two "
       "bytes before their block", "start", "small")
f.save("device-span")
