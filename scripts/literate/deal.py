"""Dealing the lines of an edited file out to the chunks they belong to.

A tangled file is a row of titles (the comments that references leave) and,
between them, of segments: the runs of lines that stand between two references
of a piece. Stitching first finds each title again in the edited file. The
edited lines between two titles are then dealt out, in order, to the segments
between these titles, at the least cost: a line that is still there stays where
it was, a changed line takes the place of the one it replaced, a new line joins
its neighbours, and no line goes where its indentation forbids it.
"""

import difflib
import re

from literate.book import Fault, header_in, is_root, reference_in
from literate.tangle import indented, speaks_c, takes_stars, title_comment

MOVED = 10.0        # the cost of a line that leaves its segment
MISPLACED = 2.0     # of a changed line that does not stand where the old one did
IMPOSSIBLE = 1e9


class Use:
    """One use of a chunk in a file: by a title, or by the file itself."""

    def __init__(self, chunk, parent, depth):
        self.chunk, self.parent, self.depth = chunk, parent, depth
        self.prefix = self.old_prefix = ""
        self.title = None


class Segment:
    """The lines piece.lines[start:end], between two references, as used."""

    def __init__(self, use, piece, start, end, first):
        self.use, self.piece, self.start, self.end = use, piece, start, end
        self.first = first      # the row of the file where the segment starts
        self.number = 0         # its place among the segments of the file

    def rows(self):
        return range(self.first, self.first + self.end - self.start)


class Title:
    """A reference of a piece as the file shows it: rows first to last."""

    def __init__(self, use, piece, k, first, last):
        self.use, self.piece, self.k = use, piece, k
        self.first, self.last = first, last
        self.comment = None     # the Comment of the edited file that it became


class Comment:
    """A comment of an edited file that could be a title: rows first to last."""

    def __init__(self, name, indent, first, last):
        self.name, self.indent = name, indent
        self.first, self.last = first, last


class Layout:
    """A root's file as a row of segments and titles."""

    def __init__(self, book, root):
        self.book, self.root = book, root
        self.in_c = speaks_c(root.name)
        self.stars = takes_stars(root.name)
        self.rows, self.parts = [], []
        self.walk(Use(root, None, 0))

    def walk(self, use):
        for piece in use.chunk.pieces:
            start = 0
            for k, found in piece.references.items():
                self.add_segment(use, piece, start, k)
                self.add_title(use, piece, k, found)
                start = k + 1
            self.add_segment(use, piece, start, len(piece.lines))

    def add_segment(self, use, piece, start, end):
        self.parts.append(Segment(use, piece, start, end, len(self.rows)))
        for line in piece.lines[start:end]:
            self.rows.append(indented(use.old_prefix, line, self.in_c))

    def add_title(self, use, piece, k, found):
        child = Use(self.book.chunks[found[1]], use, use.depth + 1)
        child.old_prefix = use.old_prefix + found[0]
        comment = title_comment(found[1], child.old_prefix, self.stars)
        first = len(self.rows)
        self.rows += comment
        child.title = Title(child, piece, k, first, len(self.rows))
        self.parts.append(child.title)
        self.walk(child)


def content(line, prefix, in_c):
    """What a chunk must hold so that the line appears at the prefix; None
    when nothing can, or when it would read as lit's own syntax."""
    if "<<" in line and (reference_in(line) or header_in(line.strip())):
        return None
    if not line or (in_c and line[0] == "#"):
        return line
    if not prefix:
        return line
    inner = line[len(prefix):] if line.startswith(prefix) else ""
    return inner if indented(prefix, inner, in_c) == line else None


def comment_at(rows, k, stars):
    """The Comment that starts at row k, if it is one that a title leaves."""
    if not stars:
        match = re.match(r"([ \t]*)# (\S.*)\Z", rows[k])
        if match and valid_title(match[2]):
            return Comment(match[2], match[1], k, k + 1)
        return None
    match = re.match(r"([ \t]*)/\* (\S.*)\Z", rows[k])
    if not match:
        return None
    words, last = match[2], k + 1
    while not words.endswith("*/") and last < len(rows) and last < k + 6:
        words += " " + rows[last].strip().removeprefix("* ")
        last += 1
    name = words.removesuffix("*/").strip().removesuffix(".")
    if not valid_title(name):
        return None
    if title_comment(name, match[1], True) != tuple(rows[k:last]):
        return None
    return Comment(name, match[1], k, last)


def valid_title(name):
    return header_in(f"<<{name}>>=") == (name, False) and not is_root(name)


def align(old, new):
    """The rows two lists share, in order: a list of (i, j), and the hunks
    between them: a list of (i1, i2, j1, j2)."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while (tail < min(len(old), len(new)) - head
           and old[-1 - tail] == new[-1 - tail]):
        tail += 1
    a, b = old[head:len(old) - tail], new[head:len(new) - tail]
    pairs, hunks = [(k, k) for k in range(head)], []
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            pairs += [(head + i1 + k, head + j1 + k) for k in range(i2 - i1)]
        else:
            hunks.append((head + i1, head + i2, head + j1, head + j2))
    pairs += [(len(old) - k, len(new) - k) for k in range(tail, 0, -1)]
    return pairs, hunks


class FileStitch:
    """One edited file: finds its titles, deals out its lines."""

    def __init__(self, book, root, text):
        self.path = root.name
        self.layout = Layout(book, root)
        self.in_c, self.stars = self.layout.in_c, self.layout.stars
        if text and not text.endswith("\n"):
            raise Fault(self.path, text.count("\n") + 1,
                        "the file's last line has no end")
        self.old, self.new = self.layout.rows, text.split("\n")[:-1]
        self.pairs, self.hunks = align(self.old, self.new)
        self.titles = [p for p in self.layout.parts if isinstance(p, Title)]
        self.find_titles()
        self.check_lost_titles()
        self.set_prefixes()

    def find_titles(self):
        """Give each title the comment it became, in order, best match first.
        A title above or below all changes is where it was."""
        if not self.hunks:
            first = last = 0
        else:
            first, last = self.hunks[0][0], self.hunks[-1][1]
        shift = len(self.new) - len(self.old)
        open_titles = []
        for title in self.titles:
            if title.last <= first or title.first >= last:
                by = 0 if title.last <= first else shift
                title.comment = comment_at(self.new, title.first + by,
                                           self.stars)
            else:
                open_titles.append(title)
        if not open_titles:
            return
        comments, k = [], min(first, open_titles[0].first)
        end = max(last, open_titles[-1].last) + shift
        while k < end:
            comment = comment_at(self.new, k, self.stars)
            if comment:
                comments.append(comment)
            k = comment.last if comment else k + 1
        self.match_titles(open_titles, comments)

    def match_titles(self, titles, comments):
        """The order-preserving assignment of titles to comments of the
        highest total score."""
        old_of = {j: i for i, j in self.pairs}
        hunk_of_old = {i: h for h in self.hunks for i in range(h[0], h[1])}
        hunk_of_new = {j: h for h in self.hunks for j in range(h[2], h[3])}

        def score(title, comment):
            if old_of.get(comment.first) == title.first:
                return 100.0
            if comment.name == title.use.chunk.name:
                return 80.0
            if any(j in old_of for j in range(comment.first, comment.last)):
                return 0.0
            alike = difflib.SequenceMatcher(
                None, title.use.chunk.name, comment.name).ratio()
            hunk = hunk_of_old.get(title.first)
            if hunk and hunk == hunk_of_new.get(comment.first):
                return 20 + 40 * alike
            return 40 * alike if alike > 0.7 else 0.0

        best = [[0.0] * (len(comments) + 1) for _ in range(len(titles) + 1)]
        for a in range(len(titles) - 1, -1, -1):
            for b in range(len(comments) - 1, -1, -1):
                gain = score(titles[a], comments[b])
                best[a][b] = max(best[a + 1][b], best[a][b + 1],
                                 best[a + 1][b + 1] + gain if gain else 0.0)
        a = b = 0
        while a < len(titles) and b < len(comments):
            gain = score(titles[a], comments[b])
            if gain and best[a][b] == best[a + 1][b + 1] + gain:
                titles[a].comment = comments[b]
                a, b = a + 1, b + 1
            elif best[a][b] == best[a][b + 1]:
                b += 1
            else:
                a += 1

    def check_lost_titles(self):
        """A title may go only with all that stood under it."""
        kept = {i: j for i, j in self.pairs}
        for part in self.layout.parts:
            use = part.use
            while use.title and use.title.comment:
                use = use.parent
            if use.title is None:
                continue
            if isinstance(part, Title):
                rows = [part.comment.first] if part.comment else []
            else:
                rows = [kept[i] for i in part.rows() if i in kept
                        and len(self.old[i].strip()) > 2]
            if rows:
                raise Fault(self.path, rows[0] + 1, "the title comment of "
                            f"<<{use.chunk.name}>> (line "
                            f"{use.title.first + 1} before the edit) is gone "
                            "or no title any more, but lines of the chunk "
                            "are still here")

    def set_prefixes(self):
        for title in self.titles:
            if title.comment is None:
                continue
            outer = title.use.parent.prefix
            title.use.prefix = title.comment.indent
            if not title.comment.indent.startswith(outer):
                raise Fault(self.path, title.comment.first + 1,
                            "this title stands further left than the chunk "
                            f"<<{title.use.parent.chunk.name}>> that holds it")

    def regions(self):
        """The segments between two titles, with the old and the new rows:
        (segments, i1, i2, j1, j2)."""
        segments, i1, j1 = [], 0, 0
        for part in self.layout.parts:
            if isinstance(part, Title):
                if part.comment:
                    yield segments, i1, part.first, j1, part.comment.first
                    segments, i1, j1 = [], part.last, part.comment.last
            elif not self.lost(part.use):
                segments.append(part)
        yield segments, i1, len(self.old), j1, len(self.new)

    @staticmethod
    def lost(use):
        while use.title and use.title.comment:
            use = use.parent
        return use.title is not None

    def deal(self):
        """The new contents of every segment that changes:
        (piece, start, end) -> (lines, a row to name in a complaint)."""
        changes = {}
        for segments, i1, i2, j1, j2 in self.regions():
            same = self.old[i1:i2] == self.new[j1:j2]
            if same and all(s.use.prefix == s.use.old_prefix
                            for s in segments) and (
                    sum(s.end - s.start for s in segments) == i2 - i1):
                continue
            dealt = self.deal_region(segments, i1, i2, j1, j2)
            for segment, lines in zip(segments, dealt):
                changes.setdefault(
                    (segment.piece, segment.start, segment.end), []).append(
                    (lines, j1))
        return changes

    def wishes(self, segments, i1, i2, j1, j2):
        """For each new row, what each segment costs it, its indentation
        aside: a list of [cost of segment 0, cost of segment 1, ...]."""
        home = {i: number for number, s in enumerate(segments)
                for i in s.rows()}
        last = len(segments) - 1
        old, new = self.old[i1:i2], self.new[j1:j2]
        pairs, hunks = align(old, new)
        costs = [None] * len(new)
        for i, j in pairs:
            costs[j] = self.prefer(last, home.get(i1 + i), MOVED)
        for a, b, c, d in hunks:
            before = next((home[i] for i in range(i1 + a - 1, i1 - 1, -1)
                           if i in home), 0)
            after = next((home[i] for i in range(i1 + b, i2) if i in home),
                         last)
            for j in range(c, d):
                if a < b:
                    i = i1 + a + (j - c) * (b - a) // (d - c)
                    costs[j] = self.prefer(last, home.get(i, before),
                                           MISPLACED)
                else:
                    costs[j] = self.join(segments, before, after, new[c:d])
        return costs

    @staticmethod
    def prefer(last, number, cost):
        if number is None:
            return [0.0] * (last + 1)
        return [0.0 if s == number else cost + 0.1 * abs(s - number)
                for s in range(last + 1)]

    @staticmethod
    def join(segments, before, after, run):
        """The costs of a row of a new run between two segments. It joins the
        lines before it, unless a blank line parts it from these alone, or
        it is but a blank line between a chunk's end and what follows."""
        first, second = before, after
        blank_first, blank_last = not run[0].strip(), not run[-1].strip()
        shallower = (segments[after].use.depth < segments[before].use.depth)
        if blank_first and (not blank_last or shallower):
            first, second = after, before
        return [0.0 if s == first else 0.5 if s == second
                else 1.0 + 0.1 * abs(s - first) for s in range(len(segments))]

    def deal_region(self, segments, i1, i2, j1, j2):
        """Deal the new rows j1 to j2 to the segments, in order, at the least
        cost: dynamic programming over (row, segment)."""
        costs = self.wishes(segments, i1, i2, j1, j2)
        rows = self.new[j1:j2]
        at_prefix = {prefix: [content(row, prefix, self.in_c) for row in rows]
                     for prefix in {s.use.prefix for s in segments}}
        held = list(zip(*(at_prefix[s.use.prefix] for s in segments)))
        count = len(segments)
        total, back = [0.0] * count, []
        for row in range(len(rows)):
            origin, lowest, where = [], IMPOSSIBLE, 0
            after = [IMPOSSIBLE] * count
            for s in range(count):
                if total[s] < lowest:
                    lowest, where = total[s], s
                origin.append(where)
                if held[row][s] is not None:
                    after[s] = min(IMPOSSIBLE, lowest + costs[row][s])
            if min(after) >= IMPOSSIBLE:
                self.refuse_row(j1 + row, segments)
            total = after
            back.append(origin)
        dealt = [[] for _ in segments]
        s = min(range(count), key=lambda k: total[k])
        for row in range(len(rows) - 1, -1, -1):
            dealt[s].append(held[row][s])
            s = back[row][s]
        return [lines[::-1] for lines in dealt]

    def refuse_row(self, j, segments):
        row = self.new[j]
        if reference_in(row) or header_in(row.strip()):
            raise Fault(self.path, j + 1, "in the book this line would read "
                        "as a reference or as a chunk's name")
        names = ", ".join(dict.fromkeys(
            f"<<{s.use.chunk.name}>>" for s in segments))
        raise Fault(self.path, j + 1, "the indentation of this line fits no "
                    f"chunk that could hold it here ({names})")
