"""The runs of a text and the heap of candidates, before and after one join."""
from draw import Figure

SPACE = "\u2581"
f = Figure(640, 290, "A list of runs over the text, and a heap of candidate "
           "pairs, before and after the first join")


def runs(y, title, cells, heap):
    f.text(20, y - 12, title, "start", "small")
    for i, (name, fill) in enumerate(cells):
        f.box(20 + 56 * i, y, 44, 34, name, fill, "mono")
        if i + 1 < len(cells) and fill != "d" and cells[i + 1][1] != "d":
            f.arrow(64 + 56 * i, y + 17, 75 + 56 * i, y + 17)
        f.text(42 + 56 * i, y + 50, i, kind="small")
    f.text(400, y - 12, "candidates, the best on top", "start", "small")
    for i, (words, fill) in enumerate(heap):
        f.box(400, y + 26 * i, 220, 26, words, fill, "mono")


runs(40, "runs", [(SPACE, "a"), ("b", "a"), ("l", "a"), ("o", "a"),
                  ("c", "a"), ("k", "a")],
     [("bl   1+2  score -275", "c"), ("lo   2+3  score -279", "paper"),
      ("ck   4+5  score -283", "paper")])
runs(180, "after joining 1 and 2: run 2 has length zero",
     [(SPACE, "a"), ("bl", "c"), ("", "d"), ("o", "a"), ("c", "a"),
      ("k", "a")],
     [("lo   2+3  stale", "d"), (SPACE + "bl  0+1  score -280", "paper"),
      ("ck   4+5  score -283", "paper")])
f.arrow(120, 178, 200, 178, bend=-14)
f.save("merge-runs")
