"""From edited files back to the book: the patch, and the proof that it is right.

deal.py says which lines each segment and title of an edited file becomes; here
the fences that own them are rewritten. The book so changed is tangled again,
and only if that gives the edited files, byte for byte, is it accepted.
"""

import re

from literate.book import Book, Chapter, Fault, reference_in
from literate.deal import FileStitch
from literate.tangle import tangle


class Patch:
    """What is to change in the book, gathered from all edited files."""

    def __init__(self, book):
        self.book = book
        self.segments = {}      # (piece, start, end) -> lines
        self.references = {}    # (piece, k) -> the new line, None to drop it
        self.names = {}         # old title -> new title
        self.dropped = set()    # titles of chunks that go

    def uses(self, name):
        return len(self.book.users.get(name, []))

    def add(self, work):
        for key, answers in work.deal().items():
            for lines, row in answers:
                known = self.segments.setdefault(key, lines)
                if known != lines:
                    raise Fault(work.path, row + 1, f"<<{key[0].name}>> is "
                                "used more than once and its uses were "
                                "edited differently")
        for title in work.titles:
            self.add_title(work, title)

    def add_title(self, work, title):
        old = title.use.chunk.name
        if work.lost(title.use):
            if not work.lost(title.use.parent):
                self.references[title.piece, title.k] = None
            self.dropped.add(old)
            return
        new = title.comment.name
        if self.names.setdefault(old, new) != new:
            raise Fault(work.path, title.comment.first + 1, f"<<{old}>> is "
                        "used more than once and its titles were edited "
                        "differently")
        outer = title.use.parent.prefix
        line = title.use.prefix[len(outer):] + f"<<{new}>>"
        key = (title.piece, title.k)
        if self.references.setdefault(key, line) != line:
            raise Fault(work.path, title.comment.first + 1, "this title's "
                        "chunk is used more than once and its uses were "
                        "indented differently")

    def piece_lines(self, piece):
        """A piece's new lines."""
        lines, start = [], 0
        for k, found in piece.references.items():
            lines += self.segments.get((piece, start, k), piece.lines[start:k])
            name = self.names.get(found[1], found[1])
            line = self.references.get((piece, k), found[0] + f"<<{name}>>")
            # A line that stays the same keeps its own trailing space.
            if line is not None and reference_in(line) == found:
                line = piece.lines[k]
            lines += [] if line is None else [line]
            start = k + 1
        k = len(piece.lines)
        return lines + self.segments.get((piece, start, k),
                                         piece.lines[start:])

    def gone(self):
        """The chunks that no reference uses any more."""
        gone, grew = set(), True
        while grew:
            grew = False
            for name in self.dropped - gone:
                users = [(p, k) for p, k in self.book.users[name]
                         if p.name not in gone
                         and self.references.get((p, k), "") is not None]
                if not users:
                    gone.add(name)
                    grew = True
        return gone

    def touched(self, gone):
        """The pieces that may change."""
        touched = {piece for piece, _, _ in self.segments}
        touched.update(piece for piece, _ in self.references)
        for old, new in self.names.items():
            if old != new:
                touched.update(self.book.chunks[old].pieces)
                touched.update(piece for piece, _ in self.book.users[old])
        for name in gone:
            touched.update(self.book.chunks[name].pieces)
        return touched

    def chapters(self):
        """The texts of the chapters that change: path -> text; the pieces
        that change; and notes on what a writer should look at."""
        gone, texts, changed, notes = self.gone(), {}, [], []
        new_lines = {}
        touched = self.touched(gone)
        for piece in sorted(touched, key=lambda p: -p.header):
            lines = new_lines.setdefault(piece.chapter, piece.chapter.lines[:])
            if self.rewrite(piece, lines, gone, notes):
                changed.append(piece)
        for chapter, lines in new_lines.items():
            text = "\n".join(lines)
            if text != chapter.text:
                texts[chapter.path] = text
        return texts, changed, notes

    def rewrite(self, piece, lines, gone, notes):
        """Put a piece's new lines into its chapter's; whether they differ."""
        at = piece.header
        end = at + 1 + len(piece.lines)
        if piece.name in gone:
            notes.append("{}:{}: ".format(*piece.place())
                         + f"<<{piece.name}>> is gone with its fence; look at "
                         "the prose around it")
            blank = end + 1 < len(lines) and not lines[end + 1]
            del lines[at - 1:end + 1 + blank]
            return True
        name = self.names.get(piece.name, piece.name)
        inner = self.piece_lines(piece)
        if name != piece.name:
            lines[at] = f"<<{name}>>" + ("+=" if piece.extends else "=")
        if inner != piece.lines:
            lines[at + 1:end] = inner
            self.widen(lines, at - 1, at + 1 + len(inner), inner)
        return name != piece.name or inner != piece.lines

    @staticmethod
    def widen(lines, start, end, inner):
        """Lengthen a fence that one of its own lines would close."""
        mark = lines[start][0]
        runs = [len(line.strip()) for line in inner
                if line.strip() and set(line.strip()) == {mark}]
        fence = re.match(f"{mark}+", lines[start])[0]
        if runs and max(runs) >= len(fence):
            wide = mark * (max(runs) + 1)
            lines[start] = wide + lines[start][len(fence):]
            lines[end] = wide


def stitch(book, edited):
    """Carry edited files (path -> text) into the book. Returns the texts of
    the chapters that change, the notes, and the new book; raises Fault, with
    nothing changed, when that cannot be done exactly."""
    roots = {root.name: root for root in book.roots}
    patch = Patch(book)
    for path, text in edited.items():
        patch.add(FileStitch(book, roots[path], text))
    for old, new in patch.names.items():
        if new != old and new in book.chunks and (
                patch.names.get(new, new) == new):
            raise Fault(*book.chunks[new].pieces[0].place(), f"<<{old}>> "
                        f"cannot be renamed <<{new}>>: there is one already")
    texts, pieces, notes = patch.chapters()
    changed = Book([Chapter(c.path, texts[c.path]) if c.path in texts else c
                    for c in book.chapters])
    verify(book, changed, edited, pieces)
    return texts, notes, changed


def files_with(book, pieces):
    """The names of the roots that any of these pieces is part of."""
    names, todo = set(), [piece.name for piece in pieces]
    while todo:
        name = todo.pop()
        if name not in names:
            names.add(name)
            todo += [piece.name for piece, _ in book.users.get(name, [])]
    return {name for name in names if book.chunks[name].is_root}


def verify(book, changed, edited, pieces):
    """Raise the first reason why the changed book is not the edited files.
    Files without a changed piece are what they were."""
    if changed.faults:
        fault = changed.faults[0]
        raise Fault(fault.path, fault.line, "stitched, the book would be "
                    "wrong here: " + fault.message)
    for name in sorted(files_with(book, pieces) | set(edited)):
        want = edited.get(name)
        if want is None:
            want = tangle(book, book.chunks[name]).text()
        file = tangle(changed, changed.chunks[name])
        rows = want.split("\n")[:-1]
        if file.rows == rows:
            continue
        k = next((k for k, (a, b) in enumerate(zip(file.rows, rows))
                  if a != b), min(len(file.rows), len(rows)))
        shared = shared_chunk(changed, file, k)
        raise Fault(name, k + 1, "stitched, the book would not give this "
                    "line" + (f"; <<{shared}>> is used more than once, and "
                              "all its uses must agree" if shared else ""))


def shared_chunk(book, file, row):
    """The chunk that a file's row shows or names, if it has other uses."""
    if row >= len(file.rows):
        return None
    piece, k = file.origin(row)
    _, name = piece.references.get(k, ("", piece.name))
    return name if len(book.users.get(name, [])) > 1 else None
