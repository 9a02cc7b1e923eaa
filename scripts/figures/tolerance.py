"""Which results a tolerance accepts, and why zero must lie outside."""
from draw import Figure

f = Figure(640, 170, "A band of accepted results around the reference; zero "
           "lies outside the band of a useful reference and inside that of a "
           "blind one")


def axis(y, want, half, words, fill):
    f.line(40, y, 600, y)
    f.box(want - half, y - 13, 2 * half, 26, "", fill)
    f.line(want, y - 18, want, y + 18)
    f.text(want, y - 23, "want", kind="small")
    f.line(110, y - 18, 110, y + 18)
    f.text(110, y + 32, "0", kind="small")
    f.text(600, y - 23, words, "end", "small")


axis(45, 380, 60, "zeros would fail", "c")
axis(120, 150, 60, "zeros would pass: refused", "d")
f.text(380, 77, "absolute + relative |want| on each side", kind="small")
f.save("tolerance")
