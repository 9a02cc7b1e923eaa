"""The steps of V7's pipeline, one row a tile."""
from draw import Figure

f = Figure(640, 290, "At step 3 tile 3 is folded, the copies of tiles 4 and 5 "
           "are in flight, and the blocks of tile 6 are looked up")
left, top, width, height = 110, 56, 84, 28
for step in range(6):
    f.text(left + width * step + width / 2, 44, f"step {step + 1}",
           kind="small")
for tile in range(1, 7):
    y = top + (tile - 1) * (height + 4)
    f.text(left - 12, y + 19, f"tile {tile}", "end", "small")
    for step in range(1, 7):
        x = left + width * (step - 1)
        ahead = tile - step
        if ahead == 0:
            f.box(x, y, width - 4, height, "fold", "c", "small")
        elif ahead in (1, 2):
            f.box(x, y, width - 4, height, "in flight", "a", "small")
        elif ahead == 3:
            f.box(x, y, width - 4, height, "look up", "b", "small")
x = left + width * 2 - 2
f.line(x, 34, x, 252, True)
f.line(x + width, 34, x + width, 252, True)
f.text(left, 276, "one barrier between two steps; the copies asked for next "
       "go where a folded tile was", "start", "small")
f.text(left, 22, "a step waits, asks for the tile two ahead, looks up the next "
       "one's blocks, folds", "start", "small")
f.save("decode-pipeline")
