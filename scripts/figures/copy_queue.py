"""The asynchronous copies of one lane before and in a wait."""
from draw import Figure

f = Figure(640, 218, "A kernel issues copies in two groups and waits for all "
           "but one group: the first lands, the second stays in flight")
STEPS = [("copy", "a"), ("copy", "a"), ("commit", "e"), ("copy", "b"),
         ("commit", "e"), ("wait<1>", "c"), ("read", "paper"),
         ("wait<0>", "c"), ("read", "paper")]
LEFT, WIDTH = 20, 66
for i, (word, fill) in enumerate(STEPS):
    f.box(LEFT + WIDTH * i, 20, WIDTH - 6, 30, word, fill, "small")


def flight(row, issued, landed, fill, words):
    y = 76 + 40 * row
    x1, x2 = LEFT + WIDTH * issued + 28, LEFT + WIDTH * landed + 28
    f.line(x1, 50, x1, y, True)
    f.line(x2, 50, x2, y, True)
    f.box(x1, y, x2 - x1, 26, words, fill, "small")


flight(0, 0, 5, "a", "group 0, in flight")
flight(1, 1, 5, "a", "group 0, in flight")
flight(2, 3, 7, "b", "group 1, in flight")
f.arrow(LEFT + WIDTH * 6 + 28, 76, LEFT + WIDTH * 6 + 28, 52)
f.text(LEFT + WIDTH * 6 + 28, 92, "group 0 only", kind="small")
f.arrow(LEFT + WIDTH * 8 + 28, 76, LEFT + WIDTH * 8 + 28, 52)
f.text(LEFT + WIDTH * 8 + 28, 92, "both", kind="small")
f.text(LEFT, 212, "time runs to the right", "start", "small")
f.save("copy-queue")
