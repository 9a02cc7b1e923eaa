"""Two buffers that are filled and used in turn."""
from draw import Figure

STEP = 86
f = Figure(640, 218, "While keys are scored the values travel; while values "
           "are added the next keys travel")
for y, words in [(52, "key buffer"), (92, "value buffer"), (150, "arithmetic")]:
    f.text(14, y + 19, words, "start", "small")
for i in range(5):
    x = 100 + STEP * (i + 1)
    tile, keys = i // 2, i % 2 == 0
    f.line(x, 36, x, 186, dash=True)
    f.box(x + 3, 150, STEP - 6, 30,
          f"score K{tile}" if keys else f"add V{tile}", "c", "small")
    f.box(x + 3, 52 if keys else 92, STEP - 6, 30,
          f"K{tile} is read" if keys else f"V{tile} is read", "b", "small")
for i in range(6):
    x = 100 + STEP * i
    tile, keys = i // 2, i % 2 == 0
    f.box(x + 3, 52 if keys else 92, STEP - 6, 30,
          f"K{tile} arrives" if keys else f"V{tile} arrives", "a", "small")
f.text(100 + STEP, 28, "wait, barrier, request", kind="small")
f.arrow(100, 204, 610, 204)
f.text(14, 208, "time", "start", "small")
f.save("prefill-buffers")
