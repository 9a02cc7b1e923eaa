"""Where the bytes of Phi-3-mini lie: to scale, in f16, one full context."""
from draw import Figure

WEIGHTS, CACHE, REST = 7.6426, 1.6106, 0.0754  # GB, as `folio inspect` tells
WIDTH, LEFT = 600, 20

f = Figure(640, 270, "The bytes of Phi-3-mini in half precision with one full "
           "context, to scale")
scale = WIDTH / (WEIGHTS + CACHE + REST)
weights, cache = WEIGHTS * scale, CACHE * scale
f.text(LEFT, 24, "loaded, one context of 4,096 tokens, f16: 9.33 GB", "start",
       "small")
f.box(LEFT, 34, weights, 46, "weights\n7.64 GB", "a", "small")
f.box(LEFT + weights, 34, cache, 46, "cache\n1.61 GB", "b", "small")
f.box(LEFT + weights + cache, 34, REST * scale, 46, "", "c")
f.text(LEFT + WIDTH, 24, "workspace 0.08 GB, tables 4 kB", "end", "small")
f.line(LEFT + WIDTH - REST * scale / 2, 28, LEFT + WIDTH - REST * scale / 2, 34)

# The cache, taken apart.
f.line(LEFT + weights, 80, LEFT, 130, dash=True)
f.line(LEFT + weights + cache, 80, LEFT + WIDTH, 130, dash=True)
f.text(LEFT + WIDTH - 10, 122, "the cache: 256 blocks of 16 tokens, 6 MiB each",
       "end", "small")
f.cells(LEFT, 130, WIDTH / 10, 34,
        ["0", "1", "2", "3", "4", "...", "252", "253", "254", "255"],
        ["b"] * 10, "small")
f.line(LEFT, 164, LEFT, 214, dash=True)
f.line(LEFT + WIDTH / 10, 164, LEFT + WIDTH, 214, dash=True)
f.text(LEFT + 8, 206, "a block: 192 KiB in each of 32 layers", "start", "small")
f.cells(LEFT, 214, WIDTH / 5, 34,
        ["layer 0", "layer 1", "layer 2", "...", "layer 31"],
        ["c", "e", "e", "e", "e"], "small")
f.text(LEFT, 264, "one layer: 12,288 bytes a token", "start", "small")
f.save("where-the-bytes-are")
