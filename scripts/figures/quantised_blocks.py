"""The bytes of a Q8_0 and a Q4_0 block."""
from draw import Figure

f = Figure(640, 230, "A Q8_0 block is a two-byte scale and 32 signed bytes; a "
           "Q4_0 block is a two-byte scale and 16 bytes of two nibbles each")
f.text(20, 24, "Q8_0: 32 values in 34 bytes", "start")
f.box(20, 36, 70, 34, "scale f16", "b", "small")
f.cells(90, 36, 50, 34, ["q0", "q1", "q2", "q3", "...", "q31"],
        ["a"] * 6)
f.text(410, 58, "value i = scale * q[i]", "start", "mono")
f.text(20, 114, "Q4_0: 32 values in 18 bytes", "start")
f.box(20, 126, 70, 34, "scale f16", "b", "small")
for i, (high, low) in enumerate([("16", "0"), ("17", "1"), ("18", "2"),
                                 ("...", "..."), ("31", "15")]):
    f.box(90 + 60 * i, 126, 30, 34, high, "c", "mono")
    f.box(120 + 60 * i, 126, 30, 34, low, "a", "mono")
f.text(90, 180, "in each byte: the high nibble, then the low nibble", "start",
       "small")
f.text(90, 206, "value i = scale * (nibble i - 8)", "start", "mono")
f.save("quantised-blocks")
