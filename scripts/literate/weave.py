"""From the book to pandoc's Markdown: chunks become numbered, linked HTML.

All else in a chapter is left as it is. A piece is numbered by its chapter and
its place there: 5.3 is the third piece of chapter 5.
"""

import re
from html import escape

from literate.names import KEYWORDS, TOKEN, TYPES, top_level_names
from literate.tangle import speaks_c, tangle

CONTROL = frozenset("break case continue default do else for goto if return "
                    "switch while".split())


class Woven:
    """The numbers and links of all pieces, and the names of the C files.

    `page(chapter)` is what goes before the # in a link to that chapter;
    `link_names` makes each name in the code a link to its definition."""

    def __init__(self, book, page, link_names=True):
        self.book, self.page, self.link_names = book, page, link_names
        self.pieces = [p for c in book.chapters for p in c.pieces]
        self.numbers, self.spans = {}, {}
        for chapter in book.chapters:
            for k, piece in enumerate(chapter.pieces, 1):
                self.numbers[piece] = f"{chapter_number(chapter)}.{k}"
        self.definitions = {}       # name -> [(Name, piece, file), ...]
        self.uses = {}              # name -> pieces that use it, in order
        self.find_spans_and_names()
        self.find_uses()

    def find_spans_and_names(self):
        for root in self.book.roots:
            file = tangle(self.book, root)
            for row in range(len(file.rows)):
                spans = self.spans.setdefault(file.origin(row)[0], {})
                first, _ = spans.get(root.name, (row + 1, 0))
                spans[root.name] = (first, row + 1)
            if not (root.name.startswith("src/") and speaks_c(root.name)):
                continue
            for name in top_level_names(file.text()):
                if not root.name.endswith((".h", ".cuh")):
                    name.is_static |= name.kind in ("type", "macro", "constant")
                self.definitions.setdefault(name.text, []).append(
                    (name, file.origin(name.row)[0], root.name))

    def find_uses(self):
        for piece in self.pieces:
            if not self.in_c(piece):
                continue
            text = "\n".join(piece.lines)
            words = {word for match in TOKEN.finditer(text)
                     if match.lastgroup in ("name", "directive")
                     and not is_member(text, match.start())
                     for word in re.findall(r"[A-Za-z_]\w*", match[0])}
            files = self.spans.get(piece, {})
            for word in words & self.definitions.keys():
                if any(path in files or not name.is_static
                       for name, _, path in self.definitions[word]):
                    self.uses.setdefault(word, []).append(piece)

    def in_c(self, piece):
        files = self.spans.get(piece, {})
        return any(speaks_c(path) for path in files)

    def definition(self, word, piece):
        """The piece that a name in a piece's code leads to, or None."""
        found = self.definitions.get(word)
        if not found:
            return None
        files = self.spans.get(piece, {})
        near = [d for d in found if d[2] in files]
        far = [d for d in found if not d[0].is_static]
        for choice in (near, far):
            choice.sort(key=lambda d: not d[0].is_whole)
            if choice:
                return choice[0][1] if choice[0][1] is not piece else None
        return None

    # ---- Links --------------------------------------------------------------

    def href(self, piece):
        return self.page(piece.chapter) + "#" + anchor(self.numbers[piece])

    def link(self, piece, text=None):
        number = self.numbers[piece]
        return (f'<a class="ref" href="{self.href(piece)}">'
                f"{text or number}</a>")

    def links(self, pieces):
        unique = list(dict.fromkeys(pieces))
        return ", ".join(self.link(piece) for piece in unique)

    # ---- Chunks -------------------------------------------------------------

    def chunk_html(self, piece):
        number = self.numbers[piece]
        siblings = self.book.chunks[piece.name].pieces
        place = siblings.index(piece)
        length = "short" if len(piece.lines) <= 16 else "long"
        is_file = self.book.chunks[piece.name].is_root
        name = escape(piece.name)
        name = f"<code>{name}</code>" if is_file else f"⟨{name}⟩"
        told = f", continued from {self.link(siblings[place - 1])}" \
            if place else ""
        return (f'<div class="chunk {length}" id="{anchor(number)}">\n'
                f'<div class="chunk-head"><span class="chunk-name">{name}'
                f'</span><span class="chunk-told">{told}</span> '
                f'<a class="chunk-number" href="#{anchor(number)}">{number}'
                f"</a></div>\n"
                f'<pre tabindex="0"><code>{self.code_html(piece)}</code></pre>'
                f'\n<div class="chunk-foot">{self.foot(piece, place)}</div>\n'
                "</div>")

    def foot(self, piece, place):
        chunk = self.book.chunks[piece.name]
        told = []
        users = [user for user, _ in self.book.users.get(piece.name, [])]
        if users:
            told.append("Used in " + self.links(users))
        if place + 1 < len(chunk.pieces):
            told.append("continued in " + self.link(chunk.pieces[place + 1]))
        for path, (first, last) in self.spans.get(piece, {}).items():
            told.append(f'<span class="file">{escape(path)}:{first}'
                        + (f"–{last}" if last > first else "") + "</span>")
        return " · ".join(told)

    def code_html(self, piece):
        """A piece's lines: highlighted, references and names as links."""
        out, held = [], []

        def flush():
            if held:
                text = "\n".join(held) + "\n"
                out.append(self.highlight(text, piece) if self.in_c(piece)
                           else escape(text, quote=False))
                held.clear()

        for k, line in enumerate(piece.lines):
            found = piece.references.get(k)
            if found is None:
                held.append(line)
                continue
            flush()
            first = self.book.chunks[found[1]].pieces[0]
            title = escape(found[1])
            out.append(f'{found[0]}<a class="title" href="{self.href(first)}">'
                       f'⟨{title}⟩<span class="at"> {self.numbers[first]}'
                       "</span></a>\n")
        flush()
        return "".join(out).strip("\n")

    def highlight(self, text, piece):
        out, at = [], 0
        for match in TOKEN.finditer(text):
            out.append(escape(text[at:match.start()], quote=False))
            kind = match.lastgroup
            if kind == "name" and is_member(text, match.start()):
                kind = "member"
            out.append(self.token_html(match[0], kind, piece))
            at = match.end()
        return "".join(out) + escape(text[at:], quote=False)

    def token_html(self, word, kind, piece):
        text = escape(word, quote=False)
        style = {"comment": "co", "string": "st", "directive": "pp",
                 "number": "dv"}.get(kind)
        if kind == "name":
            style = ("cf" if word in CONTROL else "kw" if word in KEYWORDS
                     else "dt" if word in TYPES or word.endswith("_t") else None)
            target = None
            if style is None and self.link_names:
                target = self.definition(word, piece)
            if target:
                return f'<a class="id" href="{self.href(target)}">{text}</a>'
        return f'<span class="{style}">{text}</span>' if style else text

    # ---- Pages --------------------------------------------------------------

    def chapter_markdown(self, chapter):
        """A chapter with each chunk's fence replaced by raw HTML, and links
        to other chapters' files by links to their pages."""
        out, at = [], 0
        for piece in chapter.pieces:
            out += self.prose(chapter.lines[at:piece.header - 1])
            out += raw_html(self.chunk_html(piece))
            at = piece.header + len(piece.lines) + 2
        return "\n".join(out + self.prose(chapter.lines[at:]))

    def prose(self, lines):
        by_file = {c.path.rpartition("/")[2]: c for c in self.book.chapters}

        def repoint(match):
            chapter = by_file.get(match[1])
            if chapter is None:
                return match[0]
            page, mark = self.page(chapter), match[2]
            return f"]({page}{mark or '' if page else mark or '#' + ident(chapter)})"

        return [re.sub(r"\]\((\d[\w-]*\.md)(#[\w-]+)?\)", repoint, line)
                for line in lines]

    @staticmethod
    def index_markdown(title, html):
        return "\n".join([f"# {title}", ""] + raw_html(html) + [""])

    def chunk_index(self):
        """The index of files and chunks, as HTML."""
        files, titles = [], []
        for chunk in self.book.chunks.values():
            where = self.links(chunk.pieces)
            users = [u for u, _ in self.book.users.get(chunk.name, [])]
            if chunk.is_root:
                files.append((chunk.name, f"<code>{escape(chunk.name)}</code> "
                              f'<span class="where">{where}</span>'))
            else:
                titles.append((chunk.name.lower(), f"⟨{escape(chunk.name)}⟩ "
                               f'<span class="where">{where}</span>'
                               f' <span class="used">used in '
                               f"{self.links(users)}</span>"))
        return ('<h2 class="index-title">Files</h2>\n' + index_list(files)
                + '<h2 class="index-title">Chunks</h2>\n'
                + index_list(titles))

    def name_index(self):
        """The index of C names, as HTML."""
        entries = []
        for text, found in self.definitions.items():
            kinds = ", ".join(dict.fromkeys(d[0].kind for d in found))
            whole = [d[1] for d in found if d[0].is_whole] or \
                [d[1] for d in found]
            told = [d[1] for d in found if d[1] not in whole]
            users = [p for p in self.uses.get(text, [])
                     if p not in whole and p not in told]
            entries.append((text.lower(), f"<code>{escape(text)}</code> "
                            f'<span class="kind">{kinds}</span> '
                            f'<span class="where">{self.links(whole)}</span>'
                            + (f' <span class="used">declared in '
                               f"{self.links(told)}</span>" if told else "")
                            + (f' <span class="used">used in '
                               f"{self.links(users)}</span>" if users else "")))
        return index_list(entries)


def is_member(text, at):
    """Whether the name at this place follows a . or a ->."""
    return text[at - 1:at] == "." or text[max(at - 2, 0):at] == "->"


def chapter_number(chapter):
    return int(re.match(r"\d+", chapter.path.rpartition("/")[2])[0])


def chapter_title(chapter):
    for line in chapter.lines:
        if line.startswith("# "):
            return line[2:].strip()
    return chapter.path


def ident(chapter):
    return "chapter-" + str(chapter_number(chapter))


def anchor(number):
    return "c" + number.replace(".", "-")


def raw_html(html):
    longest = max((len(run) for run in re.findall("`+", html)), default=0)
    mark = "`" * max(3, longest + 1)
    return [mark + "{=html}", html, mark]


def index_list(entries):
    rows = "\n".join(f"<li>{html}</li>" for _, html in sorted(entries))
    return f'<ul class="index">\n{rows}\n</ul>\n'
