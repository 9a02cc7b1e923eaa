"""A warp of the simulated GPU: its lanes and the four sets they are in."""
from draw import Figure

f = Figure(640, 232, "The lanes of a warp, each in one of four sets, and the "
           "sets as masks of 32 bits")
STATES = [("runs", "b", [5]), ("ready", "c", [0, 1, 2, 3, 4]),
          ("waiting", "a", [6, 7, 8, 9, 10, 11]),
          ("arrived", "d", [12, 13]), ("exited", "e", [14, 15])]
fill_of = {lane: fill for _, fill, lanes in STATES for lane in lanes}
LEFT, WIDTH = 92, 33

f.text(LEFT - 8, 45, "lane", "end", "small")
f.cells(LEFT, 28, WIDTH, 26, range(16), [fill_of[i] for i in range(16)])
f.text(LEFT + 16 * WIDTH + 8, 45, "...", "start")
for row, (name, fill, lanes) in enumerate(STATES[1:]):
    y = 84 + 30 * row
    f.text(LEFT - 8, y + 15, name, "end", "small")
    f.cells(LEFT, y, WIDTH, 22, [int(i in lanes) for i in range(16)],
            [fill if i in lanes else "paper" for i in range(16)])
f.text(LEFT, 222, "Lane 5 runs, and is in none of the sets.", "start", "small")
f.save("simulated-warp")
