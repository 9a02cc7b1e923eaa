"""Reading chapters: fences, chunks, and everything that can be wrong in them.

A chapter is Markdown. A fenced block whose first line is `<<name>>=` or
`<<name>>+=` is a piece of the chunk `name`; a name that is a path is a root,
the text of a file. All other fences are illustrations and are left alone.
"""

import functools
import re
from pathlib import Path

HEADER = re.compile(r"<<(?!<)(\S(?:.*\S)?)(?<!>)>>(\+?=)[ \t]*\Z")
REFERENCE = re.compile(r"([ \t]*)<<(?!<)(\S(?:.*\S)?)(?<!>)>>[ \t]*\Z")
FENCE = re.compile(r"^( {0,3})(`{3,}|~{3,})([^\n]*)", re.M)
ROOT_FOLDERS = ("src", "tests")
LONGEST_CHUNK = 40


@functools.lru_cache(maxsize=None)
def is_root(name):
    """A path has a slash and no white space; a title is a phrase."""
    return "/" in name and not re.search(r"\s", name)


def reference_in(line):
    """The (indent, name) of a reference line, or None."""
    match = REFERENCE.match(line)
    if match is None or ">>" in match[2] or "<<" in match[2]:
        return None
    return match[1], match[2]


def header_in(line):
    """The (name, extends) of a header line, or None."""
    if not line.startswith("<<"):
        return None
    match = HEADER.match(line)
    if match is None or ">>" in match[1] or "<<" in match[1]:
        return None
    return match[1], match[2] == "+="


def closes(marks, rest, fence):
    """Whether a line of marks and a rest ends a block that a fence opened."""
    return (marks[0] == fence[0] and len(marks) >= len(fence)
            and not rest.strip(" \t\r"))


@functools.lru_cache(maxsize=None)
def faults_of_name(name):
    """What is wrong with a chunk's name: a list of messages."""
    if is_root(name):
        parts = name.split("/")
        if parts[0] not in ROOT_FOLDERS:
            return [f"the file {name} lies outside src/ and tests/"]
        if any(part in ("", ".", "..") for part in parts):
            return [f"{name} is not a plain path"]
        return []
    faults = []
    if "*/" in name or "/*" in name:
        faults.append("a title becomes a comment and cannot hold /* or */")
    if name.endswith("."):
        faults.append("a title has no full stop; its comment gets one")
    if re.search(r"\s\s|[^\S ]", name):
        faults.append("the words of a title are parted by single spaces")
    return faults


class Fault(Exception):
    """One thing that is wrong, and where."""

    def __init__(self, path, line, message):
        super().__init__(f"{path}:{line}: {message}")
        self.path, self.line, self.message = path, line, message


class Piece:
    """One fence of a chunk. `header` is the index, from 0, of its header line
    in the chapter; its own lines follow, then the closing fence."""

    __slots__ = ("chapter", "name", "extends", "header", "lines", "references")

    def __init__(self, chapter, name, extends, header, lines):
        self.chapter, self.name, self.extends = chapter, name, extends
        self.header, self.lines = header, lines
        self.references = {}    # line -> the (indent, name) it refers to
        for k, line in enumerate(lines):
            found = reference_in(line) if "<<" in line else None
            if found:
                self.references[k] = found

    def place(self, k=-1):
        """The book's path and line number, from 1, of the piece's k-th line;
        of its header when k is -1."""
        return self.chapter.path, self.header + 2 + k


class Chapter:
    """One file of the book: its lines and the pieces found in them."""

    def __init__(self, path, text):
        self.path, self.text = path, text
        self.lines = text.split("\n")
        self.pieces, self.faults = [], []
        self.scan()

    def fault(self, k, message):
        self.faults.append(Fault(self.path, k + 1, message))

    def scan(self):
        row = at = 0
        fence, start = None, 0          # the open fence, and its row
        for match in FENCE.finditer(self.text):
            row += self.text.count("\n", at, match.start())
            at = match.start()
            indent, marks, rest = match.groups()
            if fence is None:
                if marks[0] == "~" or "`" not in rest:
                    fence, start, start_indent = marks, row, indent
            elif closes(marks, rest, fence):
                self.read_fence(start, row, start_indent)
                fence = None
        if fence is not None:
            self.fault(start, "this fence is never closed")

    def read_fence(self, start, end, indent):
        if end == start + 1:
            return
        first = header_in(self.lines[start + 1].strip())
        if first is None:
            return
        if indent or self.lines[start + 1][:1] in " \t":
            self.fault(start + 1, "a chunk and its fence start in column 1")
            return
        body = self.lines[start + 2:end]
        for k, line in enumerate(body):
            if "<<" in line and header_in(line.strip()):
                self.fault(start + 2 + k, "a chunk's name is the first line "
                           "of its fence; this one is further down")
        self.pieces.append(Piece(self, first[0], first[1], start + 1, body))


class Chunk:
    """A named text: its pieces in the order of the book."""

    def __init__(self, name):
        self.name, self.pieces = name, []
        self.is_root = is_root(name)


class Book:
    """All chapters and their chunks; `faults` lists what is wrong."""

    def __init__(self, chapters):
        self.chapters = chapters
        self.chunks = {}
        self.faults = [fault for c in chapters for fault in c.faults]
        for chapter in chapters:
            for piece in chapter.pieces:
                self.add(piece)
        self.roots = [c for c in self.chunks.values() if c.is_root]
        self.users = {}
        self.link()
        self.check_roots()
        self.check_cycles_and_use()
        order = {c.path: k for k, c in enumerate(chapters)}
        self.faults.sort(key=lambda f: (order.get(f.path, -1), f.line))

    def fault(self, piece, k, message):
        self.faults.append(Fault(*piece.place(k), message))

    def add(self, piece):
        name = piece.name
        chunk = self.chunks.get(name)
        if piece.extends and chunk is None:
            self.fault(piece, -1, f"<<{name}>>+= extends a chunk that no "
                       "earlier fence defines; the first takes =")
        elif not piece.extends and chunk is not None:
            path, line = chunk.pieces[0].place()
            what = "the file" if chunk.is_root else "the chunk"
            self.fault(piece, -1, f"{what} <<{name}>> is already defined at "
                       f"{path}:{line}; += extends it")
        if chunk is None:
            chunk = self.chunks[name] = Chunk(name)
            for message in faults_of_name(name):
                self.fault(piece, -1, message)
        chunk.pieces.append(piece)

    def link(self):
        """Note who refers to each chunk: name -> [(piece, k), ...]."""
        for chunk in self.chunks.values():
            for piece in chunk.pieces:
                for k, (_, name) in piece.references.items():
                    self.users.setdefault(name, []).append((piece, k))
                    if name not in self.chunks:
                        self.fault(piece, k, f"<<{name}>> is not defined")
                    elif is_root(name):
                        self.fault(piece, k, f"<<{name}>> is a file; only a "
                                   "chunk can be referred to")

    def references(self, chunk):
        """The (piece, k, chunk) of each sound reference in a chunk."""
        return [(piece, k, self.chunks[name]) for piece in chunk.pieces
                for k, (_, name) in piece.references.items()
                if name in self.chunks]

    def check_roots(self):
        folders = {}
        for root in self.roots:
            parts = root.name.split("/")
            for k in range(1, len(parts)):
                folders.setdefault("/".join(parts[:k]), root.name)
        for root in self.roots:
            if root.name in folders:
                self.fault(root.pieces[0], -1, f"{root.name} is a file here "
                           f"and a folder of {folders[root.name]}")

    def check_cycles_and_use(self):
        """Walk from every chunk down to the chunks it refers to, files first;
        what the files do not reach is used by none."""
        done, open_ = set(), []

        def visit(chunk):
            open_.append(chunk)
            for piece, k, child in self.references(chunk):
                if child in open_:
                    names = [c.name for c in open_[open_.index(child):]]
                    self.fault(piece, k, "a cycle: " + " -> ".join(
                        f"<<{n}>>" for n in names + [child.name]))
                elif child not in done:
                    visit(child)
            open_.pop()
            done.add(chunk)

        for root in self.roots:
            if root not in done:
                visit(root)
        unused = [c for c in self.chunks.values() if c not in done]
        for chunk in unused:
            self.fault(chunk.pieces[0], -1, f"no file uses <<{chunk.name}>>")
            if chunk not in done:
                visit(chunk)


def chapter_paths(home):
    """The chapters of the book under a home folder, in reading order."""
    return sorted(p for p in (Path(home) / "book").glob("[0-9]*.md")
                  if p.is_file())


def read_text(path):
    """A file's text, byte for byte: strange bytes survive a round trip."""
    return Path(path).read_bytes().decode("utf-8", "surrogateescape")


def read_book(home):
    """Read every chapter under home/book."""
    return Book([Chapter(p.relative_to(home).as_posix(), read_text(p))
                 for p in chapter_paths(home)])
