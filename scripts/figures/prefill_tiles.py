"""Tiles of rows and tiles of keys: a whole prompt, and a chunk with a window."""
from draw import Figure

SIZE = 64   # rows and keys of a tile
WIDE, HIGH = 50, 30

f = Figure(640, 270, "Left: a prompt of 320 tokens; each tile of rows visits "
           "the tiles of keys up to its own. Right: a chunk of 192 tokens over "
           "a prefix of 128, with a window of 150: the oldest keys are skipped")


def sight(first, j, window):
    """What rows at first .. first + 63 see of the keys of tile j."""
    seen = [0 <= p - k < window for p in range(first, first + SIZE)
            for k in range(j * SIZE, (j + 1) * SIZE)]
    return "full" if all(seen) else "part" if any(seen) else "none"


def draw(x, y, title, positions, window):
    f.text(x, y - 26, title, "start")
    for j in range(5):
        f.text(x + WIDE * j + WIDE / 2, y - 8, f"{SIZE * j}", kind="small")
    for i, first in enumerate(positions):
        f.text(x - 6, y + HIGH * i + 19, first, "end", "small")
        for j in range(5):
            fill = {"full": "c", "part": "b", "none": "paper"}
            f.box(x + WIDE * j, y + HIGH * i, WIDE, HIGH, "",
                  fill[sight(first, j, window)])


draw(50, 60, "whole prompt, 5 tiles of rows", range(0, 320, SIZE), 10 ** 6)
draw(370, 60, "chunk over a prefix, window 150", range(128, 320, SIZE), 150)
for i, (fill, words) in enumerate([
        ("c", "wholly in sight: no mask"), ("b", "partly: masked"),
        ("paper", "out of sight: never fetched")]):
    f.box(370, 172 + 24 * i, 24, 16, "", fill)
    f.text(402, 185 + 24 * i, words, "start", "small")
f.text(50, 260, "queries downwards by position, keys to the right; a row of "
       "cells is the work of one block of threads", "start", "small")
f.save("prefill-tiles")
