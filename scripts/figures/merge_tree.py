"""How byte pair encoding joins the characters of one word."""
from draw import Figure

SPACE = "\u2581"
f = Figure(640, 330, "The characters of the word block and its prefix space "
           "are joined in five steps to one token")
X = {SPACE: 60, "b": 160, "l": 260, "o": 360, "c": 460, "k": 560}
for name, x in X.items():
    f.box(x - 25, 270, 50, 34, name, "e", "mono")


def node(x, y, name, step, left, right):
    for (cx, cy) in (left, right):
        f.line(x, y + 34, cx, cy)
    f.box(x - 42, y, 84, 34, name, "a" if step < 5 else "c", "mono")
    f.text(x + 50, y + 22, step, "start")


node(210, 205, "bl", 1, (160, 270), (260, 270))
node(135, 140, SPACE + "bl", 2, (60, 270), (210, 205))
node(510, 205, "ck", 3, (460, 270), (560, 270))
node(435, 140, "ock", 4, (360, 270), (510, 205))
node(285, 60, SPACE + "block", 5, (135, 140), (435, 140))
f.text(20, 30, "The pair l o makes a piece too, but bl has the better score; "
       "when lo's turn comes, its l is gone.", "start", "small")
f.save("merge-tree")
