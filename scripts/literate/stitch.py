"""From edited files back to the book: the patch, and the proof that it is right.

deal.py says which lines each segment and title of an edited file becomes; here
the fences that own them are rewritten. The book so changed is tangled again,
and only if that gives the edited files, byte for byte, is it accepted.
"""

import re

from literate.book import Book, Chapter, Fault, reference_in
from literate.deal import FileStitch
from literate.tangle import tangle, text_of


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

    def chapters(self):
        """The texts of the chapters that change: path -> text, and notes on
        what a writer should look at."""
        gone, texts, notes = self.gone(), {}, []
        for chapter in self.book.chapters:
            lines = chapter.lines[:]
            for piece in reversed(chapter.pieces):
                at = piece.header
                end = at + 1 + len(piece.lines)
                if piece.name in gone:
                    notes.append("{}:{}: ".format(*piece.place())
                                 + f"<<{piece.name}>> is gone with its fence; "
                                 "look at the prose around it")
                    blank = end + 1 < len(lines) and not lines[end + 1]
                    del lines[at - 1:end + 1 + blank]
                    continue
                name = self.names.get(piece.name, piece.name)
                inner = self.piece_lines(piece)
                if name != piece.name:
                    mark = "+=" if piece.extends else "="
                    lines[at] = f"<<{name}>>{mark}"
                if inner != piece.lines:
                    lines[at + 1:end] = inner
                    self.widen(lines, at - 1, at + 1 + len(inner), inner)
            text = "\n".join(lines)
            if text != chapter.text:
                texts[chapter.path] = text
        return texts, notes

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
    texts, notes = patch.chapters()
    changed = Book([Chapter(c.path, texts[c.path]) if c.path in texts else c
                    for c in book.chapters])
    verify(book, changed, edited, set(texts))
    return texts, notes, changed


def chapters_of(book, root):
    """The paths of the chapters that a root's file is made of."""
    paths, seen, todo = set(), set(), [root]
    while todo:
        chunk = todo.pop()
        if chunk in seen:
            continue
        seen.add(chunk)
        paths.update(piece.chapter.path for piece in chunk.pieces)
        todo += [child for *_, child in book.references(chunk)]
    return paths


def verify(book, changed, edited, touched):
    """Raise the first reason why the changed book is not the edited files."""
    if changed.faults:
        fault = changed.faults[0]
        raise Fault(fault.path, fault.line, "stitched, the book would be "
                    "wrong here: " + fault.message)
    roots = {root.name: root for root in changed.roots}
    for root in book.roots:
        if root.name not in edited and not chapters_of(book, root) & touched:
            continue
        want = edited.get(root.name)
        if want is None:
            want = text_of(tangle(book, root))
        lines = tangle(changed, roots[root.name])
        have, rows = [line.text for line in lines], want.split("\n")[:-1]
        if have == rows:
            continue
        k = next((k for k, (a, b) in enumerate(zip(have, rows)) if a != b),
                 min(len(have), len(rows)))
        shared = shared_chunk(changed, lines, k)
        raise Fault(root.name, k + 1, "stitched, the book would not give this "
                    "line" + (f"; <<{shared}>> is used more than once, and "
                              "all its uses must agree" if shared else ""))


def shared_chunk(book, lines, k):
    """The chunk that a file's line shows or names, if it has other uses."""
    if k >= len(lines):
        return None
    piece = lines[k].piece
    _, name = piece.references.get(lines[k].k, ("", piece.name))
    return name if len(book.users.get(name, [])) > 1 else None
