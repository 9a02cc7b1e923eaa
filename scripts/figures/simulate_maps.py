#!/usr/bin/env python3
"""Draw what `folio simulate --json` counted, or the two maps of chapter 17.

    folio simulate OP --json | scripts/figures/simulate_maps.py DIR
    scripts/figures/simulate_maps.py

With a folder: one drawing for each line of each kernel, of its worst request.
Device memory: which sector each lane touches. Shared memory: which bank. Without
one: the figures "coalescing" and "bank-conflicts" of the book.
"""
import json
import pathlib
import re
import sys

import draw
from draw import Figure

SECTOR, BANKS, WORD = 32, 32, 4
STEP, LEFT = 18, 40


def lanes(f, y, used):
    f.text(LEFT - 8, y + 14, "lane", "end", "small")
    for lane in range(32):
        f.box(LEFT + STEP * lane, y, STEP, 20, lane,
              "a" if used[lane] else "e", "small")


def sector_map(f, y, addresses, size):
    """Lanes above, the sectors they touch below, a line for each."""
    sectors = sorted({at // SECTOR for a in addresses if a is not None
                      for at in range(a, a + size)})
    shown = sectors[:32]
    width = min(80, 32 * STEP / max(1, len(shown)))
    lanes(f, y, [a is not None for a in addresses])
    below = y + 96
    place = {}
    for i, sector in enumerate(shown):
        x = LEFT + width * i
        gap = i > 0 and sector != shown[i - 1] + 1
        place[sector] = x
        f.box(round(x + (2 if gap else 0), 1), below,
              round(width - (2 if gap else 0), 1), 24,
              "32 bytes" if width > 60 else "", "b", "small")
    for lane, address in enumerate(addresses):
        if address is not None and address // SECTOR in place:
            x = place[address // SECTOR]
            inside = (address % SECTOR) / SECTOR
            f.line(LEFT + STEP * lane + STEP / 2, y + 20,
                   round(x + width * (inside + size / SECTOR / 2), 1), below)
    return below + 24, len(sectors)


def bank_map(f, y, addresses, size):
    """Banks across; in each, the words that lanes want, one above another."""
    columns = {}
    for lane, address in enumerate(addresses):
        if address is None:
            continue
        for word in range(address // WORD, (address + size - 1) // WORD + 1):
            columns.setdefault(word % BANKS, {}).setdefault(word, lane)
    f.text(LEFT - 8, y + 14, "bank", "end", "small")
    for bank in range(BANKS):
        f.box(LEFT + STEP * bank, y, STEP, 20, bank, "e", "small")
    height = 0
    for bank, words in columns.items():
        many = len(words) > 8
        for i, (word, lane) in enumerate(list(words.items())[:8]):
            last = many and i == 7
            f.box(LEFT + STEP * bank, y + 24 + 18 * i, STEP, 18,
                  "..." if last else lane, "d" if len(words) > 1 else "c",
                  "small")
        height = max(height, min(8, len(words)))
    return y + 24 + 18 * height, max(map(len, columns.values()), default=0)


def draw_line(kernel, line, folder):
    worst = line["worst"]
    shared = line["memory"] == "shared"
    f = Figure(660, 230, f"{kernel}: {line['access']} at {line['file']}:"
               f"{line['line']}")
    f.text(LEFT, 20, f"{kernel}, {line['access']} of {line['memory']} memory at "
           f"{line['file']}:{line['line']}", "start", "small")
    shape = bank_map if shared else sector_map
    bottom, _ = shape(f, 32, worst["addresses"], worst["bytes"])
    unit = "wavefronts" if shared else "bytes"
    f.text(LEFT, min(bottom + 20, 224), f"{worst['bytes']} bytes a lane; "
           f"{worst['needed']} {unit} would do, {worst['moved']} are moved",
           "start", "small")
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"{kernel}-{line['memory']}-"
                  f"{line['access']}-{pathlib.Path(line['file']).stem}-"
                  f"{line['line']}").strip("-")
    draw.FIGURES = folder
    f.save(name)
    return name


def book():
    f = Figure(660, 320, "A warp that reads along a row moves 4 sectors, along "
               "a column 32, for the same 128 bytes")
    f.text(LEFT, 18, "along a row of floats: 4 sectors, 128 bytes moved",
           "start", "small")
    sector_map(f, 28, [4 * i for i in range(32)], 4)
    f.text(LEFT, 184, "along a column: 32 sectors, 1024 bytes moved, 128 "
           "needed", "start", "small")
    sector_map(f, 194, [128 * i for i in range(32)], 4)
    f.save("coalescing")
    f = Figure(660, 300, "A column of a tile with 32 floats to the row lies in "
               "one bank, with 33 in all of them")
    f.text(LEFT, 18, "a column of rows of 32 floats: one bank, 32 wavefronts",
           "start", "small")
    bank_map(f, 28, [128 * i for i in range(32)], 4)
    f.text(LEFT, 222, "a column of rows of 33 floats: a bank each, one "
           "wavefront; the number is the lane", "start", "small")
    bank_map(f, 232, [132 * i for i in range(32)], 4)
    f.save("bank-conflicts")


def main():
    if len(sys.argv) == 1:
        book()
        return
    folder = pathlib.Path(sys.argv[1])
    for kernel in json.load(sys.stdin)["kernels"]:
        for line in kernel["lines"]:
            print(folder / f"{draw_line(kernel['name'], line, folder)}.svg")


if __name__ == "__main__":
    main()
