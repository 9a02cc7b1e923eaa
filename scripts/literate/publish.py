"""The book for readers: HTML pages and a PDF, by pandoc and weasyprint."""

import base64
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html import escape, unescape
from pathlib import Path
from string import Template

from literate.book import Fault
from literate.weave import Woven, chapter_number, chapter_title, ident

MATH = re.compile(r'<span class="math (inline|display)">\\[(\[](.*?)\\[)\]]'
                  r"</span>", re.S)
HEADING = re.compile(r'<h2 id="([^"]*)">(.*?)</h2>', re.S)
INDEXES = (("chunks", "Index of files and chunks"), ("names", "Index of names"))


def run(command, text=""):
    """A tool's output; a tool that fails, or says anything, ends the book."""
    try:
        done = subprocess.run([str(word) for word in command], input=text,
                              capture_output=True, encoding="utf-8")
    except FileNotFoundError:
        sys.exit(f"lit book: {command[0]} is not installed; scripts/deps book "
                 "installs it")
    if done.returncode or done.stderr.strip():
        sys.exit(f"lit book: {command[0]} says:\n{done.stderr.strip()}")
    return done.stdout


def pandoc(markdown, prefix, mathematics):
    html = run(["pandoc", "--from=markdown", "--to=html5", mathematics,
                f"--id-prefix={prefix}", "--wrap=preserve"], markdown)
    html = between_chapters(html, prefix)
    return re.sub(r"<table.*?</table>", r'<div class="table">\g<0></div>',
                  html, flags=re.S)


def between_chapters(html, prefix):
    """Links to chapters freed of the prefix that pandoc gives a chapter's own
    marks and all that points to one."""
    return re.sub(rf'href="#{re.escape(prefix)}(chapter-\d+)"',
                  r'href="#\1"', html)


def glue(html):
    """Keep a formula in a line together with the mark that follows it."""
    return re.sub(r'(<math display="inline"(?:(?!</math>).)*</math>|'
                  r'<img class="math inline"[^>]*>)([.,;:!?)’”]+)',
                  r'<span class="glue">\1\2</span>', html, flags=re.S)


def python_with_matplotlib():
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-c", "import matplotlib"],
                          capture_output=True).returncode == 0:
            return python
    sys.exit("lit book: no python3 here has matplotlib; scripts/deps book "
             "installs it")


class Publication:
    """One run of `lit book`."""

    def __init__(self, home, book, target):
        self.home, self.book, self.target = home, book, target
        self.style = home / "book" / "style"
        everything = [(chapter_number(c), c) for c in book.chapters]
        self.front = next((c for n, c in everything if n == 0), None)
        self.chapters = [c for n, c in everything if n]
        self.title = chapter_title(self.front) if self.front else "The book"

    def make(self, with_pdf):
        shutil.rmtree(self.target, ignore_errors=True)
        self.target.mkdir(parents=True)
        for figure in sorted((self.home / "book/figures").glob("*.svg")):
            (self.target / "figures").mkdir(exist_ok=True)
            shutil.copy(figure, self.target / "figures")
        self.check_links()
        self.make_pages()
        if with_pdf:
            self.make_pdf()

    def check_links(self):
        link = re.compile(r"\]\((figures/[^)\s]+|\d[\w-]*\.md)")
        for chapter in self.book.chapters:
            for match in link.finditer(chapter.text):
                if not (self.home / "book" / match[1]).is_file():
                    line = chapter.text.count("\n", 0, match.start()) + 1
                    raise Fault(chapter.path, line,
                                f"there is no book/{match[1]}")

    def convert(self, woven, mathematics):
        """Each chapter's HTML, two at a time, in order."""
        def one(chapter):
            return pandoc(woven.chapter_markdown(chapter),
                          ident(chapter) + "-", mathematics)
        chapters = ([self.front] if self.front else []) + self.chapters
        with ThreadPoolExecutor(2) as pool:
            return dict(zip(chapters, pool.map(one, chapters)))

    # ---- HTML ---------------------------------------------------------------

    def page_name(self, chapter):
        return chapter.path.rpartition("/")[2].removesuffix(".md") + ".html"

    def make_pages(self):
        print(f"lit book: {len(self.chapters)} chapters as HTML", flush=True)
        woven = Woven(self.book, self.page_name)
        bodies = {chapter: glue(body) for chapter, body
                  in self.convert(woven, "--mathml").items()}
        shutil.copy(self.style / "screen.css", self.target / "style.css")
        pages = [(self.page_name(c), f"{chapter_number(c)}. "
                  + chapter_title(c), chapter_number(c)) for c in self.chapters]
        pages += [(f"{name}.html", title, "") for name, title in INDEXES]
        for k, (name, title, number) in enumerate(pages):
            if k < len(self.chapters):
                body = self.chapter_body(bodies[self.chapters[k]], number)
            else:
                body = f"<h1>{title}</h1>\n" + (
                    woven.chunk_index() if name == "chunks.html"
                    else woven.name_index())
            before = pages[k - 1] if k else ("index.html", "Contents", "")
            after = pages[k + 1] if k + 1 < len(pages) else None
            self.write_page(name, title, body, before, after)
        self.write_page("index.html", self.title, self.contents(bodies, pages),
                        None, pages[0] if pages else None)
        print(f"lit book: {len(pages) + 1} pages in "
              f"{self.target.relative_to(self.home)}/", flush=True)

    def mark_daylight(self, html):
        """Give a figure that knows no dark screens a light ground there."""
        def mark(match):
            path = self.target / match[2]
            knows = "prefers-color-scheme" in path.read_text("utf-8")
            return match[0] if knows else match[1] + 'class="daylight" ' \
                f'src="{match[2]}"'
        return re.sub(r'(<img )src="(figures/[^"]*)"', mark, html)

    def chapter_body(self, html, number):
        """The chapter's number over its title, its sections below."""
        sections = HEADING.findall(html)
        links = "".join(f'<li><a href="#{mark}">{plain_heading(text)}</a></li>'
                        for mark, text in sections)
        toc = (f'<nav class="sections" aria-label="Sections"><ol>{links}</ol>'
               "</nav>" if links else "")
        html = self.mark_daylight(html)
        return re.sub(r"(<h1.*?</h1>)", lambda m: '<p class="chapter-number">'
                      f"Chapter {number}</p>\n{m[1]}\n{toc}", html, count=1,
                      flags=re.S)

    def contents(self, bodies, pages):
        front = bodies.get(self.front, "") if self.front else ""
        rows = []
        for name, title, number in pages:
            if not number:
                continue
            body = bodies[self.chapters[len(rows)]]
            sections = "".join(
                f'<li><a href="{name}#{mark}">{plain_heading(text)}</a></li>'
                for mark, text in HEADING.findall(body))
            plain = title.split(". ", 1)[1]
            rows.append(f'<li value="{number}"><a href="{name}">'
                        f"{inline(plain)}</a><ul>{sections}</ul></li>")
        indexes = "".join(f'<li><a href="{name}.html">{title}</a></li>'
                          for name, title in INDEXES)
        return (f'<div class="front">{front}</div>\n<h2>Contents</h2>\n'
                f'<ol class="contents">{"".join(rows)}</ol>\n'
                f'<ul class="contents indexes">{indexes}</ul>\n'
                '<p class="pdf"><a href="folio.pdf">The whole book as PDF</a>'
                "</p>")

    def write_page(self, name, title, body, before, after):
        def way(page, rel, arrow):
            if page is None:
                return "<span></span>"
            text = {"prev": f"{arrow} {inline(page[1])}",
                    "next": f"{inline(page[1])} {arrow}"}[rel]
            return f'<a rel="{rel}" href="{page[0]}">{text}</a>'

        template = Template((self.style / "page.html").read_text("utf-8"))
        full = self.title if title == self.title else f"{title} · {self.title}"
        page = template.substitute(
            title=escape(full.replace("`", "")), book=escape(self.title),
            body=body, before=way(before, "prev", "←"),
            after=way(after, "next", "→"))
        (self.target / name).write_text(page, "utf-8")

    # ---- PDF ----------------------------------------------------------------

    def make_pdf(self):
        woven = Woven(self.book, lambda chapter: "", link_names=False)
        bodies = self.convert(woven, "--mathjax")
        fonts = self.draw_mathematics(bodies)
        parts = [f'<section class="front">{bodies[self.front]}</section>'
                 if self.front else "", self.pdf_contents(bodies)]
        for chapter in self.chapters:
            number = chapter_number(chapter)
            body = re.sub(r"(<h1.*?</h1>)", lambda m, n=number:
                          f'<p class="chapter-number">Chapter {n}</p>\n{m[1]}',
                          bodies[chapter], count=1, flags=re.S)
            parts.append(f'<section class="chapter" id="{ident(chapter)}">'
                         f'{body}<div class="chapter-end"></div></section>')
        for name, title in INDEXES:
            html = (woven.chunk_index() if name == "chunks"
                    else woven.name_index())
            parts.append(f'<section class="chapter back" id="{name}">'
                         f"<h1>{title}</h1>{html}</section>")
        css = (self.style / "print.css").read_text("utf-8")
        css = css.replace("FONTS", fonts)
        whole = self.target / "folio-print.html"
        whole.write_text(
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>{escape(self.title)}</title><style>{css}</style></head>"
            f"<body>{''.join(parts)}</body></html>", "utf-8")
        print("lit book: setting the PDF, which takes some minutes", flush=True)
        pdf = self.target / "folio.pdf"
        run(["weasyprint", whole, pdf])
        whole.unlink()
        print(f"lit book: {pdf.relative_to(self.home)}, "
              f"{pdf.stat().st_size // 1024} KiB", flush=True)

    def pdf_contents(self, bodies):
        rows = []
        for chapter in self.chapters:
            number = chapter_number(chapter)
            sections = "".join(
                f'<li><a href="#{mark}">{plain_heading(text)}</a></li>'
                for mark, text in HEADING.findall(bodies[chapter]))
            rows.append(f'<li><a href="#{ident(chapter)}"><span class="n">'
                        f"{number}</span>{inline(chapter_title(chapter))}</a>"
                        f"<ul>{sections}</ul></li>")
        rows += [f'<li><a href="#{name}"><span class="n"></span>{title}</a>'
                 "</li>" for name, title in INDEXES]
        return ('<section class="toc"><h1>Contents</h1><ul>'
                + "".join(rows) + "</ul></section>")

    def draw_mathematics(self, bodies):
        """Replace TeX by drawings, in place; the folder of fonts."""
        formulas = list(dict.fromkeys(
            (unescape(m[2]).strip(), m[1] == "display")
            for body in bodies.values() for m in MATH.finditer(body)))
        print(f"lit book: drawing {len(formulas)} formulas", flush=True)
        answer = json.loads(run(
            [python_with_matplotlib(), Path(__file__).parent / "mathsvg.py"],
            json.dumps([{"tex": t, "display": d} for t, d in formulas])))
        drawn = dict(zip(formulas, answer["drawings"]))
        for (tex, _), drawing in drawn.items():
            if "error" in drawing:
                raise Fault(*self.place_of(tex),
                            f"the formula {tex!r} cannot be drawn: "
                            + drawing["error"])

        def image(match):
            tex = unescape(match[2]).strip()
            drawing = drawn[tex, match[1] == "display"]
            data = base64.b64encode(drawing["svg"].encode()).decode()
            return (f'<img class="math {match[1]}" alt="{escape(tex)}" '
                    f'style="height:{drawing["height"]:.3f}em;vertical-align:'
                    f'{-drawing["depth"]:.3f}em" '
                    f'src="data:image/svg+xml;base64,{data}">')

        for chapter in bodies:
            bodies[chapter] = glue(MATH.sub(image, bodies[chapter]))
        return Path(answer["fonts"]).as_uri()

    def place_of(self, tex):
        start = tex.split("\n")[0]
        for chapter in self.book.chapters:
            for k, line in enumerate(chapter.lines, 1):
                if start in line:
                    return chapter.path, k
        return "book", 1


def plain_heading(html):
    """A heading's HTML without its links."""
    return re.sub(r"</?a\b[^>]*>", "", html)


def inline(title):
    """A title's text as HTML: `code` is the only mark-up it may hold."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(title))


def publish(home, book, target, with_pdf):
    Publication(home, book, target).make(with_pdf)
