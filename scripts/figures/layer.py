"""The data flow of one layer, with the shape of everything that flows."""
from draw import Figure

f = Figure(640, 560, "One layer: the stream of shape T by C runs down the left "
           "side; attention and feed-forward branch off, and are added back")

# The stream.
f.text(60, 22, "stream (T, C)")
f.arrow(60, 30, 60, 540)
f.text(70, 556, "or to the next layer")


def branch(top, words):
    f.line(60, top, 130, top)
    f.arrow(130, top, 150, top)
    f.text(100, top - 6, words, kind="small")


def added(y):
    f.box(48, y - 12, 24, 24, "+", "ink")
    f.parts[-1] = f.parts[-1].replace("<text ", '<text style="fill:#fff" ')
    f.arrow(150, y, 74, y)


branch(56, "(T, C)")
f.box(150, 40, 90, 32, "rmsnorm", "e")
f.arrow(240, 56, 264, 56)
f.box(264, 40, 90, 32, "linear", "a")
f.arrow(354, 56, 380, 56)
f.box(380, 40, 92, 32, "Q (T, H, D)", "b")
f.box(472, 40, 78, 32, "K (T, K, D)", "b", "small")
f.box(550, 40, 78, 32, "V (T, K, D)", "b", "small")

f.arrow(426, 72, 426, 96)
f.arrow(511, 72, 511, 96)
f.box(380, 96, 170, 30, "rope, in place", "e")
f.arrow(511, 126, 511, 156)
f.arrow(589, 72, 589, 156)
f.box(472, 156, 156, 30, "kv_write", "e")
f.text(500, 150, "slots (T)", "end", "small")
f.arrow(550, 186, 550, 206)
f.cells(472, 206, 26, 26, ["", "", "", "", "", ""],
        ["c", "c", "e", "c", "e", "c"])
f.text(550, 248, "this layer's blocks", kind="small")
f.arrow(426, 126, 426, 206)
f.arrow(472, 219, 448, 228)
f.box(300, 206, 148, 46, "attention\nthrough the table", "a")
f.text(374, 268, "(T, H, D)", kind="small")
f.arrow(300, 229, 264, 229)
f.box(174, 213, 90, 32, "linear", "a")
f.line(174, 229, 150, 229)
added(229)
f.text(112, 223, "(T, C)", kind="small")

branch(306, "(T, C)")
f.box(150, 290, 90, 32, "rmsnorm", "e")
f.arrow(240, 306, 264, 306)
f.box(264, 290, 90, 32, "linear", "a")
f.arrow(354, 306, 380, 306)
f.box(380, 290, 124, 32, "gate (T, F)", "b")
f.box(504, 290, 124, 32, "up (T, F)", "b")
f.arrow(442, 322, 442, 346)
f.arrow(566, 322, 566, 346)
f.box(380, 346, 248, 30, "silu(gate) * up", "e")
f.text(504, 394, "(T, F)", kind="small")
f.line(380, 361, 320, 361)
f.arrow(320, 361, 264, 361)
f.box(174, 345, 90, 32, "linear", "a")
f.line(174, 361, 150, 361)
added(361)
f.text(112, 355, "(T, C)", kind="small")

f.text(150, 428, "After the last layer, for the rows that are wanted:", "start")
branch(458, "(T, C)")
f.box(150, 442, 110, 32, "gather_rows", "e")
f.arrow(260, 458, 280, 458)
f.box(280, 442, 90, 32, "rmsnorm", "e")
f.arrow(370, 458, 390, 458)
f.box(390, 442, 80, 32, "linear", "a")
f.arrow(470, 458, 490, 458)
f.box(490, 442, 138, 32, "logits (n, V)", "b")
f.arrow(559, 474, 559, 496)
f.box(490, 496, 138, 32, "sample", "e")
f.arrow(490, 512, 470, 512)
f.text(464, 517, "tokens (n)", "end")
f.save("layer")
