"""Which threads of a warp read which keys, on the rungs of the decode ladder."""
from draw import Figure

f = Figure(640, 330, "V1: a thread reads all keys of a sequence. V2 to V4: each "
           "lane of a warp reads a key of its own. V5: eight lanes read a key "
           "together, four keys at a time")
TINTS = ["a", "b", "c", "d"]


def rows(x, y, count, fills, words):
    for i in range(count):
        f.text(x - 8, y + 18 * i + 13, words[i], "end", "small")
        for j, fill in enumerate(fills[i]):
            f.box(x + 20 * j, y + 18 * i, 20, 16, "", fill)


f.text(20, 24, "V1: one thread", "start")
rows(70, 60, 8, [["a"] * 4] * 8, [f"key {i}" for i in range(8)])
f.arrow(60 + 52, 40, 60 + 52, 58)
f.text(110, 36, "thread 0", kind="small")
f.text(20, 226, "one row after the other,", "start", "small")
f.text(20, 242, "four bytes of a sector at a time", "start", "small")

f.text(230, 24, "V2 to V4: one key a lane", "start")
fills = [[TINTS[i % 4]] * 4 for i in range(8)]
rows(290, 60, 8, fills, [f"lane {i}" for i in range(8)])
f.line(290, 52, 310, 52)
f.text(300, 46, "one load", kind="small")
f.text(230, 226, "a load of the warp begins in", "start", "small")
f.text(230, 242, "32 rows: 32 sectors", "start", "small")

f.text(440, 24, "V5: one key a team", "start")
for i in range(4):
    f.text(482, 76 + 36 * i, f"key {i}", "end", "small")
    f.cells(490, 62 + 36 * i, 17, 22, range(8 * i, 8 * i + 8),
            [TINTS[i]] * 8, "small")
f.text(558, 54, "lanes, 16 bytes each", kind="small")
f.text(440, 226, "a load of the warp is four", "start", "small")
f.text(440, 242, "runs of 128 bytes: 16 full sectors", "start", "small")

f.text(20, 284, "bytes of a sector that one load of the warp uses (float16)",
       "start")
f.text(20, 308, "V2, V3: 2 of 32", "start", "mono")
f.text(240, 308, "V4: 16 of 32", "start", "mono")
f.text(440, 308, "V5: 32 of 32", "start", "mono")
f.save("decode-threads")
