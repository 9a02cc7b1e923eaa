"""The free stack through four calls."""
from draw import Figure

f = Figure(640, 250, "The free stack: new, after two requests, after one row "
           "is given back, and after another asks for three")
steps = [("a new pool", [5, 4, 3, 2, 1, 0], "", ""),
         ("row 0 takes two,\nrow 1 takes two", [5, 4],
          "row 0: 0 1", "row 1: 2 3"),
         ("row 0 gives back,\nlast entry first", [5, 4, 1, 0],
          "row 0: none", "row 1: 2 3"),
         ("row 2 takes three", [5],
          "row 2: 0 1 4", "row 1: 2 3")]
for i, (title, stack, first, second) in enumerate(steps):
    x = 40 + 155 * i
    for k, line in enumerate(title.split("\n")):
        f.text(x + 30, 18 + 15 * k, line, kind="small")
    for k in range(6):
        y = 186 - 24 * k
        if k < len(stack):
            f.box(x, y, 60, 22, stack[k],
                  fill="c" if stack[k] < 4 and i > 1 else "a", kind="mono")
        else:
            f.box(x, y, 60, 22, "", fill="paper")
    top = 186 - 24 * (len(stack) - 1)
    f.text(x + 68, top + 15, "top", anchor="start", kind="small")
    f.text(x + 30, 226, first, kind="small")
    f.text(x + 30, 242, second, kind="small")
f.save("free-stack")
