"""Which lane holds which score, and where padded rows begin in the banks."""
from draw import Figure

f = Figure(640, 330, "Left: 16 rows by 8 keys of scores with the lane that "
           "holds each. Right: the banks of eight padded rows, all different")
f.text(30, 26, "scores: 16 rows, 8 keys", "start")
for r in range(16):
    f.text(26, 52 + 16 * r, r, "end", "small")
    for c in range(8):
        lane = r % 8 * 4 + c // 2
        f.box(32 + 26 * c, 40 + 16 * r, 26, 16, lane,
              "a" if lane == 9 else "paper", "small")
f.text(30, 318, "lane 9 holds two keys each of rows 2 and 10", "start", "small")
f.text(300, 26, "banks in which eight rows of 16 bytes begin", "start")
for title, y, pitch in [("rows 128 bytes apart", 60, 32),
                        ("rows 144 bytes apart", 200, 36)]:
    f.text(300, y - 8, title, "start", "small")
    for row in range(8):
        f.text(296, y + 10 + 12 * row, row, "end", "small")
        for bank in range(32):
            mine = (bank - pitch * row) % 32 < 4
            f.box(300 + 10 * bank, y + 12 * row, 10, 12, "",
                  "d" if mine and pitch == 32 else "c" if mine else "paper")
f.text(300, 172, "all in banks 0 to 3: eight wavefronts", "start", "small")
f.text(300, 312, "each in banks of its own: one wavefront", "start", "small")
f.save("prefill-fragments")
