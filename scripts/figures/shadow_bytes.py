"""Device memory above, its shadow below: a state for each byte."""
from draw import Figure

f = Figure(640, 250, "Each byte of device memory has a byte of shadow that "
           "holds its state; red zones stand between allocations")
states = [("unmapped", "e", 3), ("red zone", "d", 2), ("written", "c", 6),
          ("unwritten", "b", 3), ("red zone", "d", 2), ("freed", "a", 4),
          ("red zone", "d", 2)]
x, width, left = 20, 27, []
f.text(20, 24, "device memory, in the arena", "start", "small")
f.text(20, 120, "its shadow, one byte for each", "start", "small")
for name, fill, count in states:
    left.append((x, count * width))
    f.box(x, 34, count * width, 40, "", "e" if fill == "e" else "paper")
    code = {"unmapped": 0, "red zone": 1, "unwritten": 2, "written": 3,
            "freed": 4}[name]
    f.cells(x, 130, width, 34, [code] * count, [fill] * count)
    x += count * width
a, b = left[2], left[3]
f.box(a[0], 34, a[1] + b[1], 40, "an allocation of 9 bytes", "paper")
f.box(left[5][0], 34, left[5][1], 40, "given back", "paper", "small")
for start, span in left:
    f.line(start, 74, start, 104, True)
f.line(x, 74, x, 104, True)
legend = [("0 unmapped", "e"), ("1 red zone", "d"), ("2 unwritten", "b"),
          ("3 written", "c"), ("4 freed", "a")]
for i, (words, fill) in enumerate(legend):
    f.box(20 + 118 * i, 190, 18, 18, "", fill)
    f.text(44 + 118 * i, 204, words, "start", "small")
f.text(20, 236, "a read may touch 3 alone, a write 2 and 3; all else is "
       "reported", "start", "small")
f.save("shadow-bytes")
