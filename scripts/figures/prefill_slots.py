"""The slots of three sequences, and where each begins."""
from draw import Figure

R, ROWS, FILLS = 4, [6, 3, 8], ["a", "b", "c"]
starts = [sum(ROWS[:n]) for n in range(4)]
begins = [starts[n] // R + n for n in range(4)]

f = Figure(640, 232, "Sequences of 6, 3 and 8 rows in tiles of 4: their slots "
           "begin at 0, 2 and 4; two of the seven slots are idle")
f.text(20, 24, "all rows as one run, marks every 4", "start", "small")
for n, rows in enumerate(ROWS):
    for r in range(rows):
        f.box(20 + 35 * (starts[n] + r), 36, 35, 24, r, FILLS[n], "mono")
for mark in range(0, starts[3] + 1, R):
    f.line(20 + 35 * mark, 32, 20 + 35 * mark, 68)
f.text(20, 98, "slots of the launch", "start", "small")
for n, rows in enumerate(ROWS):
    for slot in range(begins[n], begins[n + 1]):
        first = (slot - begins[n]) * R
        last = min(first + R, rows) - 1
        idle = first >= rows
        f.box(20 + 85 * slot, 122, 85, 40,
              "idle" if idle else f"rows {first}..{last}",
              "e" if idle else FILLS[n], "small")
        f.text(62 + 85 * slot, 116, slot, kind="small")
    middle = 20 + 85 * begins[n]
    f.text(middle, 184, f"b = {starts[n]} / 4 + {n} = {begins[n]}", "start",
           "small")
f.text(20, 216, "a block with number 3 finds n = 1, the last with b <= 3; its "
       "rows would begin at 4, and there are 3", "start", "small")
f.save("prefill-slots")
