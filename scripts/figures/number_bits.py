"""The bits of float32, binary16 and bfloat16."""
from draw import Figure

f = Figure(640, 190, "float32 has 1 sign, 8 exponent and 23 fraction bits; "
           "binary16 has 1, 5 and 10; bfloat16 has 1, 8 and 7")
UNIT = 17


def row(y, name, exponent, fraction):
    f.text(66, y + 19, name, "end", "mono")
    f.box(76, y, UNIT, 28, "s", "d", "mono")
    f.box(76 + UNIT, y, UNIT * exponent, 28, f"exponent {exponent}", "b",
          "small")
    f.box(76 + UNIT * (1 + exponent), y, UNIT * fraction, 28,
          f"fraction {fraction}", "a", "small")


row(20, "f32", 8, 23)
row(80, "bf16", 8, 7)
row(140, "f16", 5, 10)
f.line(76 + UNIT * 16, 52, 76 + UNIT * 16, 76, True)
f.text(80 + UNIT * 16, 70, "cut here, and round", "start", "small")
f.text(80 + UNIT * 16, 158, "smaller range, three more bits of fraction",
       "start", "small")
f.save("number-bits")
