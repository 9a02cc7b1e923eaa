"""From chunks to files: each line of a file knows where in the book it is from.
"""

import functools

from literate.book import Fault

WIDTH = 80
C_SUFFIXES = (".c", ".h", ".cu", ".cuh", ".cc", ".cpp", ".hpp")


def speaks_c(path):
    """Whether a file takes C's comments; all others take #."""
    return path.endswith(C_SUFFIXES)


@functools.lru_cache(maxsize=None)
def title_comment(title, indent, in_c):
    """The comment lines a reference leaves. A long one is wrapped as
    clang-format would wrap it, so that formatting leaves it alone."""
    if not in_c:
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


class Line:
    """One line of a tangled file and its origin: line k of a piece."""

    __slots__ = ("text", "piece", "k")

    def __init__(self, text, piece, k):
        self.text, self.piece, self.k = text, piece, k


def tangle(book, root):
    """The lines of a root's file. The book has no faults."""
    in_c = speaks_c(root.name)
    lines = []

    def expand(chunk, prefix):
        for piece in chunk.pieces:
            for k, text in enumerate(piece.lines):
                found = piece.references.get(k)
                if found is None:
                    lines.append(Line(indented(prefix, text, in_c), piece, k))
                    continue
                if in_c and lines and lines[-1].text.endswith("\\"):
                    raise Fault(*piece.place(k), "a reference cannot follow a "
                                "continued line: its comment would end it")
                inner = prefix + found[0]
                for title in title_comment(found[1], inner, in_c):
                    lines.append(Line(title, piece, k))
                expand(book.chunks[found[1]], inner)

    expand(root, "")
    return lines


def text_of(lines):
    """A file's text from its tangled lines."""
    return "".join(line.text + "\n" for line in lines)
