"""A group of eight query heads as rows of the tensor cores' matrices."""
from draw import Figure

f = Figure(640, 330, "Sixteen rows, eight of them query heads, times sixteen "
           "keys give scores; weights times values give sums")


def grid(x, y, columns, rows, size, fill):
    for r in range(rows):
        for c in range(columns):
            f.box(x + size * c, y + size * r, size, size, "", fill(r, c))


f.text(20, 26, "queries", "start")
grid(20, 60, 8, 16, 12, lambda r, c: "a" if r < 8 else "e")
f.text(20, 274, "8 heads, 8 rows of zeros", "start", "small")
f.text(68, 52, "D", kind="small")
f.text(132, 164, "x")
f.text(214, 52, "16 keys")
grid(150, 110, 16, 8, 8, lambda r, c: "b")
f.text(214, 102, "one column a key", kind="small")
f.text(290, 124, "D", "start", "small")
f.text(294, 164, "=")
f.text(312, 26, "16 x 16 scores", "start")
grid(312, 60, 16, 16, 8, lambda r, c: "c" if r < 8 else "e")
f.arrow(376, 196, 376, 226)
f.box(312, 228, 128, 40, "running softmax\nweights", "paper", "small")
f.text(458, 164, "x")
f.text(476, 26, "16 values", "start")
grid(476, 60, 12, 16, 12, lambda r, c: "d")
f.text(548, 52, "D", kind="small")
f.text(548, 274, "sums: 16 rows of D, float32", kind="small")
f.text(20, 310, "a lane's four scores of a row are just where its weights must "
       "be for the second product", "start", "small")
f.save("decode-matrix")
