"""Who holds which element in mma.m16n8k16, by the formulas of the PTX manual."""
from draw import Figure

WIDE, HIGH = 24, 17
f = Figure(640, 640, "Matrices A, B and D of one matrix product, each element "
           "with the lane that holds it and its number there")


def matrix(x, y, columns, name, held):
    """16 rows of cells; held gives lane and number of an element."""
    f.text(x + columns * WIDE / 2, y - 8, name)
    for row in range(16):
        for column in range(columns):
            lane, number = held(row, column)
            left, top = x + column * WIDE, y + row * HIGH
            f.box(left, top, WIDE, HIGH, "",
                  "abcd"[lane // 4 % 4] if lane % 2 else "paper")
            f.text(left + 2, top + 13, lane, "start", "small")
            f.parts.append(f'<text x="{left + WIDE - 2}" y="{top + 9}" '
                           'text-anchor="end" style="font-size:8px">'
                           f'{number}</text>')


matrix(432, 30, 8, "B: 16 rows, 8 columns",
       lambda row, column: (column * 4 + row % 8 // 2, row % 2 + row // 8 * 2))
matrix(12, 352, 16, "A: 16 rows, 16 columns",
       lambda row, column: (row % 8 * 4 + column % 8 // 2,
                            column % 2 + row // 8 * 2 + column // 8 * 4))
matrix(432, 352, 8, "sums: 16 rows, 8 columns",
       lambda row, column: (row % 8 * 4 + column // 2,
                            column % 2 + row // 8 * 2))
f.text(12, 60, "large: the lane that holds the element", "start")
f.text(12, 80, "small: the element's number in that lane", "start")
f.save("mma-fragments")
