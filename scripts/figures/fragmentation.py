"""Memory reserved by the longest length, and the same memory in blocks."""
from math import ceil

from draw import Figure

BLOCKS = 27    # of one slice: the longest length that is allowed
CELL, LEFT = 20, 84
LENGTHS = {"A": 2.0, "B": 5.3, "C": 1.2, "D": 9.5, "E": 14.2, "F": 4.6,
           "G": 11.3}     # in blocks
FILLS = dict(zip("ABCDEFG", "abcdabc"))

f = Figure(640, 280, "Three sequences in reserved slices waste most of the "
           "memory; in blocks, the same memory holds seven and has room")

f.text(LEFT, 22, "One slice a sequence, as long as the longest may become",
       anchor="start")
for i, name in enumerate("ABC"):
    y = 34 + 26 * i
    f.text(LEFT - 8, y + 15, f"sequence {name}", anchor="end", kind="small")
    f.box(LEFT, y, BLOCKS * CELL, 21)
    f.box(LEFT, y, LENGTHS[name] * CELL, 21, fill=FILLS[name])
    f.text(LEFT + BLOCKS * CELL - 8, y + 15, "reserved, not written",
           anchor="end", kind="small")
f.text(LEFT - 8, 128, "D, E, F, G", anchor="end", kind="small")
f.text(LEFT, 128, "wait: there is no slice for them", anchor="start",
       kind="small")

f.text(LEFT, 166, "The same memory in blocks of one size, taken as needed",
       anchor="start")
taken = []
for turn in range(BLOCKS):
    taken += [(name, min(1, length - turn)) for name, length in LENGTHS.items()
              if turn < ceil(length)]
for k in range(3 * BLOCKS):
    x, y = LEFT + k % BLOCKS * CELL, 176 + k // BLOCKS * 24
    f.box(x, y, CELL, 20)
    if k < len(taken):
        name, part = taken[k]
        f.box(x, y, round(CELL * part, 1), 20, fill=FILLS[name])
        f.text(x + CELL / 2, y + 14, name, kind="small")
f.text(LEFT, 266, f"All seven sequences take {len(taken)} of "
       f"{3 * BLOCKS} blocks. What is lost is the rest of each last block.",
       anchor="start", kind="small")
f.save("fragmentation")
