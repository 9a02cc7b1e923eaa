"""From chunks to files: each line of a file knows where in the book it is from.
"""

import bisect
import functools
import re

from literate.book import Fault

WIDTH = 80
C_SUFFIXES = (".c", ".h", ".cu", ".cuh", ".cc", ".cpp", ".hpp")


def speaks_c(path):
    """Whether a file holds C, with its comments and directives."""
    return path.endswith(C_SUFFIXES)


def is_page(path):
    """Whether a file is a page, whose styles and scripts take C's comments."""
    return path.endswith(".html")


def takes_stars(path):
    """Whether a title becomes a comment as C has them; else it takes #."""
    return speaks_c(path) or is_page(path)


def in_style_or_script(rows):
    """Whether a page goes on in a style or script after these rows; anywhere
    else the comment of a title would be shown to whoever reads the page."""
    for row in reversed(rows):
        tags = re.findall(r"<(/?)(?:style|script)\b", row)
        if tags:
            return tags[-1] == ""
    return False


@functools.lru_cache(maxsize=None)
def title_comment(title, indent, stars):
    """The comment lines a reference leaves. A long one is wrapped as
    clang-format would wrap it, so that formatting leaves it alone."""
    if not stars:
        return (f"{indent}# {title}",)
    stop = "" if title[-1] in "?!:" else "."
    words = f"{title}{stop} */".split(" ")
    lines, line = [], f"{indent}/*"
    for k, word in enumerate(words):
        tail = " */" if k == len(words) - 2 else ""
        if len(line) + 1 + len(word + tail) > WIDTH and line.strip(" /*"):
            lines.append(line)
            line = f"{indent} *"
        line += " " + word
    return *lines, line


def indented(prefix, line, in_c):
    """A chunk's line at the indentation of its reference. Directives of the
    C preprocessor stay in column 1, where clang-format puts them."""
    if not line or (in_c and line[0] == "#"):
        return line
    return prefix + line


class File:
    """A tangled file: its rows, and where in the book each one is from."""

    def __init__(self, path):
        self.path, self.in_c = path, speaks_c(path)
        self.stars = takes_stars(path)
        self.rows = []
        self.starts, self.runs = [], []     # row -> (piece, k) of a run's start

    def add(self, rows, piece, k):
        self.starts.append(len(self.rows))
        self.runs.append((piece, k))
        self.rows += rows

    def add_run(self, prefix, piece, start, end):
        """The piece's lines from start to end, which hold no reference."""
        if start == end:
            return
        rows = piece.lines[start:end]
        if prefix:
            rows = [indented(prefix, row, self.in_c) for row in rows]
        self.add(rows, piece, start)

    def origin(self, row):
        """The (piece, k) that a row is from; a title is from its reference."""
        run = bisect.bisect_right(self.starts, row) - 1
        piece, k = self.runs[run]
        return piece, k if k in piece.references else (
            k + row - self.starts[run])

    def place(self, row):
        """The book's path and line number of a row."""
        piece, k = self.origin(row)
        return piece.place(k)

    def text(self):
        return "".join([row + "\n" for row in self.rows])


def tangle(book, root):
    """A root's File. The book has no faults."""
    file = File(root.name)

    def expand(chunk, prefix):
        for piece in chunk.pieces:
            start = 0
            for k, (indent, name) in piece.references.items():
                file.add_run(prefix, piece, start, k)
                start = k + 1
                if file.in_c and file.rows and file.rows[-1].endswith("\\"):
                    raise Fault(*piece.place(k), "a reference cannot follow a "
                                "continued line: its comment would end it")
                if is_page(file.path) and not in_style_or_script(file.rows):
                    raise Fault(*piece.place(k), "a reference in a page stands "
                                "in a style or a script")
                inner = prefix + indent
                file.add(title_comment(name, inner, file.stars), piece, k)
                expand(book.chunks[name], inner)
            file.add_run(prefix, piece, start, len(piece.lines))

    expand(root, "")
    return file
