"""Random edits of the book's files, for the fuzz of lit stitch."""

import random

WORDS = ("block", "table", "total", "x", "count", "row[k]", "pool->free", "1.0f")


def is_title(line):
    bare = line.strip()
    return bare.startswith(("/* ", "# ")) and not bare.startswith("#include")


def some_line(rng, indent):
    kind = rng.randrange(8)
    if kind == 0:
        return ""
    if kind == 1:
        return indent + "/* " + " ".join(rng.sample(WORDS, 3)) + " */"
    if kind == 2:
        return indent + "if (" + rng.choice(WORDS) + ")"
    return indent + rng.choice(WORDS) + " = " + rng.choice(WORDS) + ";"


def indent_of(line):
    return line[:len(line) - len(line.lstrip(" "))]


def insert(rng, lines):
    at = rng.randint(0, len(lines))
    near = lines[at - 1] if at else ""
    more = [some_line(rng, indent_of(near)) for _ in range(rng.randint(1, 4))]
    lines[at:at] = more


def delete(rng, lines):
    if lines:
        at = rng.randrange(len(lines))
        del lines[at:at + rng.choice((1, 1, 1, 2, 3))]


def change(rng, lines):
    if lines:
        at = rng.randrange(len(lines))
        words = lines[at].split(" ")
        words[rng.randrange(len(words))] = rng.choice(WORDS)
        lines[at] = " ".join(words)


def move(rng, lines):
    if lines:
        at = rng.randrange(len(lines))
        count = rng.choice((1, 1, 2, 3))
        taken = lines[at:at + count]
        del lines[at:at + count]
        to = max(0, min(len(lines), at + rng.randint(-8, 8)))
        lines[to:to] = taken


def reindent(rng, lines):
    if lines:
        at = rng.randrange(len(lines))
        count = rng.choice((1, 2, 5, 20))
        by = rng.choice((-4, -2, 2, 4))
        for k in range(at, min(len(lines), at + count)):
            if not lines[k]:
                continue
            if by > 0:
                lines[k] = " " * by + lines[k]
            elif lines[k].startswith(" " * -by):
                lines[k] = lines[k][-by:]


def edit_title(rng, lines):
    titles = [k for k, line in enumerate(lines)
              if line.strip().startswith("/* ") and line.endswith(". */")]
    if titles:
        at = rng.choice(titles)
        words = lines[at].split(" ")
        k = rng.randrange(indent_of(lines[at]).count(" ") + 1, len(words))
        if words[k] not in ("*/", "/*"):
            words[k] = rng.choice(("block", "every", "row.")) \
                if not words[k].endswith(".") else "ending."
            lines[at] = " ".join(words)


def hostile(rng, lines):
    """Lines that read as syntax of the book, strange space, strange bytes."""
    at = rng.randint(0, len(lines))
    lines.insert(at, rng.choice((
        "<<Do a thing>>", "    <<Do a thing>>=", "```", "````c", "~~~", "   ",
        "\t", "#if 0", "    #endif", "x\r", "\udcff\udc80", "\u2028y", "\f",
        "/* Do a thing. */", "<<<grid, block>>>", "# Title")))


ORDINARY = (insert, insert, delete, change, change, move, reindent)
ALL = ORDINARY + (edit_title, edit_title, hostile)


def edit_set(rng, files, kinds):
    """Edit one to three files, one to four times each: path -> text."""
    edited = {}
    paths = sorted(files)
    for path in rng.sample(paths, min(len(paths), rng.choice((1, 1, 1, 2, 3)))):
        lines = files[path].split("\n")[:-1]
        for _ in range(rng.choice((1, 1, 2, 4))):
            rng.choice(kinds)(rng, lines)
        text = "".join(line + "\n" for line in lines)
        if text != files[path]:
            edited[path] = text
    return edited
