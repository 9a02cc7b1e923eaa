"""Three splits of one query, and how their softmaxes merge."""
from draw import Figure

f = Figure(640, 300, "Keys 0 to 599 cut into splits of 256; each leaves a "
           "maximum, a total and a sum, which the merge scales and adds")
f.text(20, 26, "600 keys in sight, splits of 256", "start")
f.box(20, 40, 256, 28, "keys 0 .. 255", "a")
f.box(276, 40, 256, 28, "keys 256 .. 511", "b")
f.box(532, 40, 88, 28, "512 .. 599", "c")
for x, tint, i in ((93, "a", 1), (349, "b", 2), (521, "c", 3)):
    f.box(x, 110, 110, 62, f"block {i - 1}\nm{i}, l{i}\na{i} (D numbers)", tint)
for a, b in ((148, 148), (404, 404), (576, 576)):
    f.arrow(a, 70, b, 108)
f.text(20, 144, "first kernel", "start", "small")
f.box(150, 226, 400, 56, "m = max(m1, m2, m3)\n"
      "out = sum of 2^(mi - m) ai / sum of 2^(mi - m) li", "e", "mono")
for a, b in ((148, 230), (404, 340), (576, 440)):
    f.arrow(a, 174, b, 224)
f.text(20, 250, "second kernel,", "start", "small")
f.text(20, 266, "in the order 1, 2, 3", "start", "small")
f.save("split-merge")
