"""Where the bytes of Phi-3-mini lie: to scale, in f16, one full context."""
from draw import Figure

WEIGHTS, CACHE, REST = 7.6426, 1.6106, 0.0754  # GB, as `folio inspect` tells
WIDTH, LEFT = 600, 20

f = Figure(640, 250, "The bytes of Phi-3-mini in half precision with one full "
           "context, to scale")
scale = WIDTH / (WEIGHTS + CACHE + REST)
weights, cache = WEIGHTS * scale, CACHE * scale
f.text(LEFT, 24, "loaded, one context of 4,096 tokens, f16: 9.33 GB", "start",
       "small")
f.box(LEFT, 34, weights, 46, "weights\n7.64 GB", "a", "small")
f.box(LEFT + weights, 34, cache, 46, "cache\n1.61 GB", "b", "small")
f.box(LEFT + weights + cache, 34, REST * scale, 46, "", "c")
f.text(LEFT + WIDTH, 98, "workspace 0.08 GB, tables 4 kB", "end", "small")

# The cache, taken apart.
f.line(LEFT + weights, 80, LEFT, 130, dash=True)
f.line(LEFT + weights + cache, 80, LEFT + WIDTH, 130, dash=True)
f.cells(LEFT, 130, WIDTH / 16, 34, [""] * 15 + ["256"], ["b"] * 16, "small")
f.text(LEFT + WIDTH / 2, 151, "256 blocks of 16 tokens, 6 MiB each",
       kind="small")
f.line(LEFT, 164, LEFT, 196, dash=True)
f.line(LEFT + WIDTH / 16, 164, LEFT + WIDTH, 196, dash=True)
f.cells(LEFT, 196, WIDTH / 5, 34,
        ["layer 0", "layer 1", "layer 2", "...", "layer 31"],
        ["c", "e", "e", "e", "e"], "small")
f.text(LEFT, 246, "a block: 192 KiB in each of 32 layers; "
       "one layer is 12,288 bytes a token", "start", "small")
f.save("where-the-bytes-are")
