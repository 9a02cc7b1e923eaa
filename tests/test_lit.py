"""Tests of scripts/lit: every error, every command, and a fuzz of stitch."""

import html
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
HOME = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HOME / "scripts"), str(HOME / "tests")]

import lit_fuzz  # noqa: E402
from literate.book import Book, Chapter, Fault, read_book  # noqa: E402
from literate.names import top_level_names  # noqa: E402
from literate.publish import between_chapters, glue  # noqa: E402
from literate.stitch import stitch  # noqa: E402
from literate.tangle import tangle, title_comment  # noqa: E402
from literate.weave import Woven  # noqa: E402

FUZZ_SETS = 2000
FUZZ_SEED = int(os.environ.get("LIT_FUZZ_SEED", "20240607"))


def fence(name, body, mark="="):
    return f"```c\n<<{name}>>{mark}\n{body}```\n"


def book_of(*texts):
    return Book([Chapter(f"book/{k:02d}.md", text)
                 for k, text in enumerate(texts, 1)])


def files_of(book):
    return {root.name: tangle(book, root).text() for root in book.roots}


def faults_of(*texts):
    return [str(fault) for fault in book_of(*texts).faults]


SMALL = ("# One\n\nWhy.\n\n"
         + fence("src/a.c", "int first;\n\n<<Say it>>\n\nint last;\n")
         + "\nWhy again.\n\n"
         + fence("Say it", "void say(void)\n{\n    <<Find the word>>\n}\n")
         + "\nAnd the word.\n\n"
         + fence("Find the word", "look();\n<<Turn the page>>\nread();\n")
         + "\nMore of it.\n\n"
         + fence("Find the word", "\nspeak();\n", "+=")
         + "\n" + fence("Turn the page", "turn();\n"))
SMALL_C = """int first;

/* Say it. */
void say(void)
{
    /* Find the word. */
    look();
    /* Turn the page. */
    turn();
    read();

    speak();
}

int last;
"""


class Reading(unittest.TestCase):
    """Chunks, and each thing that can be wrong with them."""

    def test_small_book_is_sound(self):
        self.assertEqual(faults_of(SMALL), [])

    def fault(self, texts, want):
        found = faults_of(*texts)
        self.assertEqual(len(found), 1, found)
        self.assertRegex(found[0], want)

    def test_undefined(self):
        self.fault([fence("src/a.c", "int a;\n<<Do it>>\n")],
                   r"^book/01\.md:4: <<Do it>> is not defined")

    def test_unused(self):
        self.fault([fence("src/a.c", "int a;\n") + fence("Do it", "b;\n")],
                   r"^book/01\.md:6: no file uses <<Do it>>")

    def test_defined_twice(self):
        self.fault([fence("src/a.c", "<<Do it>>\n") + fence("Do it", "b;\n"),
                    "\n" + fence("Do it", "c;\n")],
                   r"^book/02\.md:3: .*already defined at book/01\.md:6")

    def test_one_file_with_two_roots(self):
        self.fault([fence("src/a.c", "a;\n"), fence("src/a.c", "b;\n")],
                   r"^book/02\.md:2: the file <<src/a\.c>> is already defined "
                   r"at book/01\.md:2")

    def test_extended_before_defined(self):
        found = faults_of(fence("src/a.c", "<<Do it>>\n")
                          + fence("Do it", "b;\n", "+="),
                          fence("Do it", "c;\n"))
        self.assertRegex(found[0], r"^book/01\.md:6: .*extends a chunk that no")

    def test_cycle(self):
        self.fault([fence("src/a.c", "<<A>>\n") + fence("A", "<<B>>\n")
                    + fence("B", "x;\n<<A>>\n")],
                   r"^book/01\.md:12: a cycle: <<A>> -> <<B>> -> <<A>>")

    def test_chunk_within_itself(self):
        self.fault([fence("src/a.c", "<<A>>\n") + fence("A", "<<A>>\n")],
                   r"^book/01\.md:7: a cycle: <<A>> -> <<A>>")

    def test_unterminated_fence(self):
        self.fault(["# T\n\n```c\n<<src/a.c>>=\nint a;\n"],
                   r"^book/01\.md:3: this fence is never closed")

    def test_outside_the_source_folders(self):
        self.fault([fence("scripts/x.py", "x\n")],
                   r"^book/01\.md:2: .*outside src/ and tests/")
        self.fault([fence("/etc/passwd", "x\n")], r"outside src/ and tests/")
        self.fault([fence("src/../x.c", "x\n")], r"not a plain path")
        self.fault([fence("src//x.c", "x\n")], r"not a plain path")
        self.fault([fence("src/./x.c", "x\n")], r"not a plain path")

    def test_file_that_is_a_folder(self):
        self.fault([fence("src/a", "x\n") + fence("src/a/b.c", "y\n")],
                   r"^book/01\.md:2: src/a is a file here and a folder")

    def test_reference_to_a_file(self):
        self.fault([fence("src/a.c", "x\n") + fence("src/b.c",
                                                     "<<src/a.c>>\n")],
                   r"^book/01\.md:7: <<src/a\.c>> is a file")

    def test_titles_that_make_no_comment(self):
        root = "<<%s>>\n"
        for title, want in (("End */ early", r"cannot hold"),
                            ("Do it.", r"no full stop"),
                            ("Do  it", r"single spaces")):
            self.fault([fence("src/a.c", root % title) + fence(title, "x\n")],
                       r"^book/01\.md:6: .*" + want)

    def test_name_further_down(self):
        self.fault([fence("src/a.c", "int a;\n<<Do it>>=\n")],
                   r"^book/01\.md:4: a chunk's name is the first line")

    def test_indented_chunk(self):
        self.fault(["- item\n\n  ```c\n  <<src/a.c>>=\n  int a;\n  ```\n"],
                   r"^book/01\.md:4: a chunk and its fence start in column 1")

    def test_title_with_a_slash_is_no_file(self):
        self.assertEqual(faults_of(
            fence("src/a.c", "<<Split gate/up>>\n")
            + fence("Split gate/up", "x\n")), [])

    def test_illustrations_are_left_alone(self):
        book = book_of("```c\nint a;\n```\n\n````\n```c\n<<src/a.c>>=\n```\n"
                       "````\n\n    ```c\n    <<src/b.c>>=\n    ```\n"
                       "~~~\n<<A>>\n~~~\n`<<B>>=` in a line\n```\n```\n")
        self.assertEqual((book.faults, book.roots), ([], []))


class Tangling(unittest.TestCase):

    def only(self, text):
        book = book_of(text)
        self.assertEqual([str(f) for f in book.faults], [])
        return list(files_of(book).values())[0]

    def test_small_book(self):
        self.assertEqual(files_of(book_of(SMALL)), {"src/a.c": SMALL_C})

    def test_the_small_book_of_chapter_one(self):
        page = (HOME / "book/01-reading-and-lit.md").read_text()
        small, file = re.search(r"````markdown\n(.*?)^````\n.*?^```c\n(.*?)^```",
                                page, re.S | re.M).groups()
        self.assertEqual(self.only(small), file)

    def test_lines_know_their_origin(self):
        lines = SMALL.split("\n")
        book = book_of(SMALL)
        file = tangle(book, book.roots[0])
        for row, text in enumerate(file.rows):
            path, number = file.place(row)
            origin = lines[number - 1].strip()
            want = text.strip()
            if want.startswith("/*"):
                want = "<<" + want[3:-4] + ">>"
            self.assertEqual((path, origin), ("book/01.md", want))

    def test_kernel_launch_survives(self):
        body = ("scale<<<grid, block>>>(x);\n<<<grid, block>>>\n"
                "    <<<grid, block>>>(x)\n<<a>> b;\nx <<y>>\n")
        self.assertEqual(self.only(fence("src/a.cu", body)), body)

    def test_comment_by_file_type(self):
        for path, comment in (("src/a.c", "/* Do it. */"),
                              ("src/a.h", "/* Do it. */"),
                              ("src/a.cu", "/* Do it. */"),
                              ("src/a.cuh", "/* Do it. */"),
                              ("tests/a.py", "# Do it"),
                              ("tests/a.sh", "# Do it"),
                              ("src/Makefile", "# Do it")):
            text = fence(path, "    <<Do it>>\n") + fence("Do it", "x\n")
            self.assertEqual(self.only(text), f"    {comment}\n    x\n")

    def test_a_page_has_titles_in_its_styles_and_scripts_alone(self):
        page = "<style>\n    <<Do it>>\n</style>\n"
        chunk = fence("Do it", "#map { margin: 0 }\n")
        self.assertEqual(
            self.only(fence("src/a.html", page) + chunk),
            "<style>\n    /* Do it. */\n    #map { margin: 0 }\n</style>\n")
        for stray in ("<<Do it>>\n", "<style></style>\n<<Do it>>\n"):
            book = book_of(fence("src/a.html", stray) + chunk)
            with self.assertRaisesRegex(Fault, "stands in a style or a script"):
                tangle(book, book.roots[0])

    def test_question_keeps_its_mark(self):
        text = fence("src/a.c", "<<Is it so?>>\n") + fence("Is it so?", "x\n")
        self.assertEqual(self.only(text), "/* Is it so? */\nx\n")

    def test_directives_stay_in_column_one(self):
        text = fence("src/a.c", "    <<A>>\n") + fence("A", "#if X\ny\n#endif\n")
        self.assertEqual(self.only(text),
                         "    /* A. */\n#if X\n    y\n#endif\n")
        text = fence("tests/a.py", "    <<A>>\n") + fence("A", "# note\n")
        self.assertEqual(self.only(text), "    # A\n    # note\n")

    def test_empty_lines_stay_empty(self):
        text = fence("src/a.c", "    <<A>>\n") + fence("A", "x\n\ny\n")
        self.assertEqual(self.only(text), "    /* A. */\n    x\n\n    y\n")

    def test_reference_after_a_continued_line(self):
        book = book_of(fence("src/a.c", "#define A \\\n    <<B>>\n")
                       + fence("B", "x\n"))
        with self.assertRaisesRegex(Fault, r"^book/01\.md:4: .*continued"):
            tangle(book, book.roots[0])

    def test_long_title_is_wrapped(self):
        title = "Fold " + "one block more " * 8 + "into the sum"
        for indent in ("", "    ", " " * 40):
            lines = title_comment(title, indent, True)
            self.assertGreater(len(lines), 1)
            self.assertLessEqual(max(map(len, lines)), 80)
            words = " ".join(line.strip(" */") for line in lines)
            self.assertEqual(words, f"{title}.")

    @unittest.skipUnless(shutil.which("clang-format"), "clang-format is absent")
    def test_clang_format_keeps_titles(self):
        rng = random.Random(1)
        text = "void f(void)\n{\n"
        for _ in range(200):
            title = " ".join("x" * rng.randint(1, 12)
                             for _ in range(rng.randint(1, 30)))
            text += "\n".join(title_comment(title, "    ", True)) + "\n    y();\n"
        text += "}\n"
        style = f"--style=file:{HOME / '.clang-format'}"
        done = subprocess.run(["clang-format", style], input=text,
                              capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, text)


class Stitching(unittest.TestCase):
    """Edits of SMALL_C, and where in the book they end up."""

    def stitched(self, text, book_text=SMALL, path="src/a.c"):
        texts, notes, book = stitch(book_of(book_text), {path: text})
        self.assertEqual(files_of(book)[path], text)
        return texts.get("book/01.md", book_text), notes

    def refused(self, text, want, book_text=SMALL):
        with self.assertRaisesRegex(Fault, want):
            stitch(book_of(book_text), {"src/a.c": text})

    def edit(self, old, new, want_old, want_new):
        """Replacing old by new in the file does so in the book."""
        self.assertEqual(SMALL_C.count(old), 1)
        self.assertEqual(SMALL.count(want_old), 1)
        text, notes = self.stitched(SMALL_C.replace(old, new))
        self.assertEqual(text, SMALL.replace(want_old, want_new))
        self.assertEqual(notes, [])

    def test_nothing_edited(self):
        self.assertEqual(self.stitched(SMALL_C)[0], SMALL)

    def test_changed_line(self):
        self.edit("    look();", "    look(2);", "look();", "look(2);")

    def test_first_and_last_line(self):
        self.edit("int first;\n", "int zero;\nint first;\n",
                  "int first;\n", "int zero;\nint first;\n")
        self.edit("int last;\n", "int last;\nint end;\n",
                  "int last;\n", "int last;\nint end;\n")

    def test_insertion_between_two_chunks(self):
        self.edit("    turn();\n", "    turn();\n    rest();\n",
                  "turn();\n", "turn();\nrest();\n")
        self.edit("}\n", "    wait();\n}\n", "speak();\n",
                  "speak();\nwait();\n")

    def test_insertion_after_a_blank_line_joins_what_follows(self):
        book = (fence("src/a.c", "<<A>>\n\n<<B>>\n") + fence("A", "a();\n")
                + fence("B", "b();\n"))
        text = "/* A. */\na();\n\n/* B. */\nb();\n"
        got, _ = self.stitched(text.replace("\n\n", "\n\nc();\n\n"), book)
        self.assertEqual(got, book.replace("<<A>>\n\n", "<<A>>\n\nc();\n\n"))

    def test_second_piece_gets_its_own_edit(self):
        self.edit("    speak();\n", "    speak(loud);\n",
                  "speak();\n", "speak(loud);\n")

    def test_edited_title(self):
        text, _ = self.stitched(SMALL_C.replace("Find the word",
                                                "Find a better word"))
        self.assertEqual(text, SMALL.replace("Find the word",
                                             "Find a better word"))
        self.assertEqual(SMALL.count("Find the word"), 3)

    def test_title_that_grows_over_a_line(self):
        long = "Turn the page " + "and the next " * 6 + "one"
        wrapped = "\n".join(title_comment(long, "    ", True)) + "\n"
        self.assertIn("\n", wrapped.strip())
        text, _ = self.stitched(SMALL_C.replace("    /* Turn the page. */\n",
                                                wrapped))
        self.assertEqual(text, SMALL.replace("Turn the page", long))

    def test_chunk_reindented_with_its_title(self):
        inner = SMALL_C[SMALL_C.index("    /* Find"):SMALL_C.index("}\n")]
        deeper = re.sub(r"(?m)^(?=.)", "    ", inner)
        text, _ = self.stitched(SMALL_C.replace(
            inner, "    if (1) {\n" + deeper + "    }\n"))
        self.assertEqual(text, SMALL.replace(
            "    <<Find the word>>\n",
            "    if (1) {\n        <<Find the word>>\n    }\n"))

    def test_indented_edit_within_an_indented_chunk(self):
        self.edit("    turn();\n", "    if (x)\n        turn();\n",
                  "turn();\n", "if (x)\n    turn();\n")

    def test_emptied_chunk_keeps_its_fence(self):
        self.edit("    turn();\n", "", "turn();\n", "")

    def test_chunk_deleted_with_its_title(self):
        text, notes = self.stitched(SMALL_C.replace(
            "    /* Turn the page. */\n    turn();\n", ""))
        self.assertNotIn("Turn the page", text)
        self.assertIn("More of it.", text)
        self.assertEqual(len(notes), 1)
        self.assertRegex(notes[0], r"^book/01\.md:\d+: <<Turn the page>>")

    def test_emptied_file(self):
        self.stitched("")

    def test_title_lost_while_its_lines_stay(self):
        self.refused(SMALL_C.replace("    /* Turn the page. */\n", ""),
                     r"^src/a\.c:8: the title comment of <<Turn the page>>")

    def test_line_that_reads_as_a_reference(self):
        for line in ("    <<Do it>>\n", "<<Do it>>=\n", "  <<Do it>>+=\n"):
            self.refused(SMALL_C.replace("    look();\n",
                                         "    look();\n" + line),
                         r"^src/a\.c:8: .*read as a reference")

    def test_line_that_would_close_the_fence(self):
        text, _ = self.stitched(SMALL_C.replace("int last;\n",
                                                "int last;\n```\n"))
        self.assertIn("````c\n<<src/a.c>>=", text)

    def test_line_too_far_left(self):
        book = fence("src/a.c", "    <<A>>\n") + fence("A", "x\n<<B>>\ny\n") \
            + fence("B", "z\n")
        self.refused("    /* A. */\n    x\nq\n    /* B. */\n    z\n    y\n",
                     r"^src/a\.c:3: the indentation of this line fits no chunk",
                     book)
        self.refused("    /* A. */\n    x\n/* B. */\n    z\n    y\n",
                     r"^src/a\.c:3: this title stands further left", book)

    def test_missing_last_newline(self):
        self.refused(SMALL_C[:-1], r"^src/a\.c:15: .*no end")

    def test_strange_bytes_survive(self):
        for odd in ("x\r", "\udcff", "\u2028", "\f\v", "   ", "\t"):
            self.stitched(SMALL_C.replace("int last;", f"int last;\n{odd}"))

    def test_title_taken_already(self):
        self.refused(SMALL_C.replace("Turn the page", "Say it"),
                     r"cannot be renamed <<Say it>>")

    def test_title_that_would_be_a_path(self):
        self.refused(SMALL_C.replace("Turn the page", "src/b.c"),
                     r"^src/a\.c:\d+: the title comment")

    SHARED = (fence("src/a.c", "<<A>>\n\n<<A>>\n") + fence("src/b.c", "<<A>>\n")
              + fence("A", "x();\n"))

    def test_shared_chunk_must_be_edited_everywhere(self):
        once = "/* A. */\nx();\n"
        new = once.replace("x", "y")
        book = book_of(self.SHARED)
        self.assertEqual(files_of(book), {"src/a.c": once + "\n" + once,
                                          "src/b.c": once})
        for edited in ({"src/a.c": new + "\n" + once},
                       {"src/a.c": new + "\n" + new},
                       {"src/a.c": new + "\n" + new.replace("y", "z")},
                       {"src/b.c": new},
                       {"src/b.c": new.replace("A", "B")}):
            with self.assertRaisesRegex(Fault, "used more than once"):
                stitch(book, edited)
        everywhere = {"src/a.c": new + "\n" + new, "src/b.c": new}
        _, _, changed = stitch(book, everywhere)
        self.assertEqual(files_of(changed), everywhere)

    def test_several_chapters_at_once(self):
        book = book_of(fence("src/a.c", "<<A>>\nx\n"), fence("A", "a\n"),
                       fence("src/b.c", "b\n"))
        edited = {"src/a.c": "/* AA. */\na2\nx2\n", "src/b.c": "b2\n"}
        texts, _, changed = stitch(book, edited)
        self.assertEqual(files_of(changed), edited)
        self.assertEqual(len(texts), 3)

    def test_python_titles(self):
        book = book_of(fence("tests/a.py", "def f():\n    <<Do it>>\n")
                       + fence("Do it", "# note\nreturn 1\n"))
        edited = {"tests/a.py":
                  "def f():\n    # Do that\n    # a note\n    return 2\n"}
        _, _, changed = stitch(book, edited)
        self.assertEqual(files_of(changed), edited)


class Commands(unittest.TestCase):
    """The command line, in a folder of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = Path(folder.name)
        (self.home / "book").mkdir()
        (self.home / "book/01-one.md").write_text(SMALL)

    def lit(self, *arguments, fails=False):
        done = subprocess.run(
            [sys.executable, HOME / "scripts/lit", "-C", self.home, *arguments],
            capture_output=True, text=True)
        self.assertEqual(done.returncode, 1 if fails else 0,
                         done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr if fails else done.stdout + done.stderr

    def source(self):
        return self.home / "src/a.c"

    def test_tangle_writes_only_what_changed(self):
        self.assertIn("1 written", self.lit("tangle"))
        self.assertEqual(self.source().read_text(), SMALL_C)
        os.utime(self.source(), (1, 1))
        self.assertIn("0 written", self.lit("tangle"))
        self.assertEqual(self.source().stat().st_mtime, 1)
        self.assertIn("1 files", self.lit("check"))

    def test_tangle_elsewhere(self):
        self.lit("tangle", "--to", str(self.home / "there"))
        self.assertEqual((self.home / "there/src/a.c").read_text(), SMALL_C)
        self.assertFalse(self.source().exists())

    def test_tangle_removes_nothing_and_tells_of_stale_files(self):
        self.source().parent.mkdir()
        stale = self.home / "src/old.c"
        stale.write_text("old\n")
        self.assertIn("stale src/old.c", self.lit("tangle"))
        self.assertEqual(stale.read_text(), "old\n")

    def test_faults_stop_every_command(self):
        chapter = self.home / "book/02-two.md"
        chapter.write_text(fence("src/b.c", "<<Nothing>>\n"))
        for command in (["tangle"], ["check"], ["stitch"], ["weave"],
                        ["book"], ["where", "src/a.c:1"]):
            self.assertRegex(self.lit(*command, fails=True),
                             r"^book/02-two\.md:3: <<Nothing>> is not defined")
        self.assertFalse(self.source().exists())

    def test_book_finds_missing_figures_and_chapters(self):
        for link in ("![A walk\nby day](figures/walk.svg)", "a\n[b](09-no.md)"):
            (self.home / "book/02-two.md").write_text("# Two\n\n" + link)
            self.assertRegex(self.lit("book", fails=True),
                             r"^book/02-two\.md:4: there is no book/")

    def plant(self, edit, want):
        """A fault planted after a clean check is found, and named."""
        self.lit("tangle")
        self.lit("check")
        edit()
        self.assertRegex(self.lit("check", fails=True), want)

    def test_check_finds_a_changed_line(self):
        self.plant(lambda: self.source().write_text(
            SMALL_C.replace("look", "hook")),
            r"^src/a\.c:7: differs from book/01-one\.md:\d+;")

    def test_check_finds_lines_too_many_or_too_few(self):
        self.plant(lambda: self.source().write_text(SMALL_C + "more\n"),
                   r"^src/a\.c:16: the book's file ends before this line")
        self.plant(lambda: self.source().write_text(SMALL_C[:-10]),
                   r"^src/a\.c:15: differs")
        self.plant(lambda: self.source().write_text(SMALL_C[:-1]),
                   r"^src/a\.c:15: ")

    def test_check_finds_a_changed_end_of_line(self):
        self.plant(lambda: self.source().write_bytes(
            SMALL_C.replace("\n", "\r\n").encode()), r"^src/a\.c:1: differs")

    def test_check_finds_a_missing_file(self):
        self.plant(lambda: self.source().unlink(), r"^src/a\.c:1: missing")

    def test_check_finds_a_file_that_is_not_in_the_book(self):
        def edit():
            (self.home / "src/deep").mkdir(exist_ok=True)
            (self.home / "src/deep/b.c").write_text("int b;\n")
        self.plant(edit, r"^src/deep/b\.c:1: no chapter defines this file")

    def test_check_finds_a_changed_book(self):
        self.plant(lambda: (self.home / "book/01-one.md").write_text(
            SMALL.replace("turn();", "turn(1);")),
            r"^src/a\.c:9: differs from book/01-one\.md:")

    def test_check_finds_a_long_chunk(self):
        chapter = self.home / "book/02-two.md"
        chapter.write_text(fence("src/b.c", "x;\n" * 40))
        self.plant(lambda: None if chapter.write_text(
            fence("src/b.c", "x;\n" * 41)) else None,
            r"^book/02-two\.md:2: <<src/b\.c>> has 41 lines here")

    def test_check_ignores_times(self):
        self.lit("tangle")
        os.utime(self.source(), (1, 1))
        os.utime(self.home / "book/01-one.md")
        self.lit("check")

    def test_where(self):
        self.lit("tangle")
        lines = SMALL.split("\n")
        place = f"book/01-one.md:{lines.index('turn();') + 1}"
        self.assertEqual(self.lit("where", "src/a.c:9"), place + "\n")
        self.assertEqual(self.lit("where", place), "src/a.c:9\n")
        self.assertRegex(self.lit("where", "src/a.c:99", fails=True),
                         r"^src/a\.c:99: ")
        self.lit("where", "src/a.c", fails=True)

    def test_stitch(self):
        self.lit("tangle")
        text = SMALL_C.replace("look", "hook")
        self.source().write_text(text)
        self.assertIn("+hook();", self.lit("stitch", "-n"))
        self.assertEqual((self.home / "book/01-one.md").read_text(), SMALL)
        self.lit("stitch")
        self.assertEqual((self.home / "book/01-one.md").read_text(),
                         SMALL.replace("look", "hook"))
        self.lit("check")
        self.assertEqual(self.source().read_text(), text)

    def test_refused_stitch_writes_nothing(self):
        second = self.home / "book/02-two.md"
        second.write_text(fence("src/b.c", "int b;\n"))
        self.lit("tangle")
        self.source().write_text(SMALL_C + "<<Do it>>\n")
        (self.home / "src/b.c").write_text("int c;\n")
        self.assertRegex(self.lit("stitch", fails=True), r"^src/a\.c:16: ")
        self.assertEqual((self.home / "book/01-one.md").read_text(), SMALL)
        self.assertIn("int b;", second.read_text())


class Weaving(unittest.TestCase):
    """Numbers, links and indexes of the woven book."""

    SECOND = ("# Two\n\nSee [one](01.md#why) and [two](02.md).\n\n"
              + fence("src/b.c", '#include "a.h"\n\nint b_total;\n\n'
                      "static int count(void)\n{\n    return p->say + 1;\n"
                      "}\n\nint b_say(void)\n{\n    say();\n"
                      "    return b_total + count();\n}\n"))

    def setUp(self):
        self.book = book_of(SMALL, self.SECOND)
        self.assertEqual(self.book.faults, [])
        self.woven = Woven(self.book, lambda c: Path(c.path).stem + ".html")
        self.pages = [self.woven.chapter_markdown(c)
                      for c in self.book.chapters]

    def text(self, page):
        return html.unescape(re.sub(r"<[^>]*>", "", self.pages[page]))

    def test_captions(self):
        text = self.text(0)
        self.assertIn("⟨Find the word⟩ 1.3", text)
        self.assertIn("⟨Find the word⟩, continued from 1.3 1.4", text)
        self.assertIn("Used in 1.2 · continued in 1.4 · src/a.c:7–10", text)
        self.assertIn("src/a.c:7–10", text)

    def test_references_link_to_their_definition(self):
        self.assertRegex(self.pages[0], r'    <a class="title" '
                         r'href="01\.html#c1-3">⟨Find the word⟩')
        for anchor in ("c1-1", "c1-2", "c1-3", "c1-4", "c1-5"):
            self.assertEqual(self.pages[0].count(f'id="{anchor}"'), 1)

    def test_names_link_to_their_definition(self):
        self.assertIn('<a class="id" href="01.html#c1-2">say</a>',
                      self.pages[1])
        self.assertIn("p-&gt;say", self.pages[1])

    def test_code_is_all_there(self):
        for piece in self.woven.pieces:
            shown = html.unescape(re.sub(r"<[^>]*>", "",
                                         self.woven.code_html(piece)))
            want = [line for k, line in enumerate(piece.lines)
                    if k not in piece.references]
            have = [line for line in shown.split("\n") if "⟨" not in line]
            self.assertEqual("\n".join(have).strip("\n"),
                             "\n".join(want).strip("\n"))

    def test_links_between_chapters(self):
        self.assertIn("[one](01.html#why) and [two](02.html)", self.pages[1])
        whole = Woven(self.book, lambda c: "")
        self.assertIn("[one](#why) and [two](#chapter-2)",
                      whole.chapter_markdown(self.book.chapters[1]))

    def test_indexes(self):
        text = re.sub(r"<[^>]*>", "", self.woven.chunk_index())
        self.assertIn("⟨Find the word⟩ 1.3, 1.4 used in 1.2", text)
        self.assertIn("src/b.c 2.1", text)
        text = re.sub(r"<[^>]*>", "", self.woven.name_index())
        self.assertIn("say function 1.2 used in 2.1", text)
        self.assertIn("b_total variable 2.1", text)

    def test_a_formula_keeps_its_full_stop(self):
        math = '<math display="inline"><mi>x</mi></math>'
        self.assertEqual(glue(f"{math} a {math}. {math}"),
                         f'{math} a <span class="glue">{math}.</span> {math}')

    def test_in_print_a_link_to_a_chapter_loses_pandocs_prefix(self):
        self.assertEqual(
            between_chapters('<a href="#chapter-1-chapter-15">15</a>'
                             '<a href="#chapter-1-the-test">test</a>',
                             "chapter-1-"),
            '<a href="#chapter-15">15</a><a href="#chapter-1-the-test">test</a>')

    def test_names_of_all_kinds(self):
        found = top_level_names("""
#define SIZE 3 /* blocks */
#define SQUARE(x) \\
    ((x) * (x))
typedef struct pool pool;
struct node { int inner; struct node *next; };
typedef struct { int field; } shape;
typedef enum color { RED, GREEN = f(2), BLUE } color;
typedef int (*visit)(int a, int b);
/* int hidden(void); */
static const char *const words[] = {"int no(void);", "b"};
extern int shared;
__attribute__((format(printf, 1, 2))) int told(const char *f, ...);
_Static_assert(sizeof(int) == 4, "four");
static int twice(int a)
{
    int local = 2;
    return local * a;
}
""")
        self.assertEqual(
            [(n.text, n.kind, n.row, n.is_whole) for n in found],
            [("SIZE", "macro", 1, True), ("SQUARE", "macro", 2, True),
             ("pool", "type", 4, True), ("node", "type", 5, True),
             ("shape", "type", 6, True), ("RED", "constant", 7, True),
             ("GREEN", "constant", 7, True), ("BLUE", "constant", 7, True),
             ("color", "type", 7, True), ("visit", "type", 8, True),
             ("words", "variable", 10, True),
             ("shared", "variable", 11, False),
             ("told", "function", 12, False),
             ("twice", "function", 14, True)])


def fuzz(task):
    """Stitch edit sets seed..seed+count; the outcomes of each, and what went
    wrong."""
    kinds, seed, count = task
    book = read_book(HOME)
    files = files_of(book)
    done, refused, wrong = 0, 0, []
    for number in range(seed, seed + count):
        edited = lit_fuzz.edit_set(random.Random(number), files,
                                   getattr(lit_fuzz, kinds))
        try:
            _, _, changed = stitch(book, edited)
        except Fault as fault:
            refused += 1
            if not fault.message or fault.line < 1:
                wrong.append(f"{kinds} {number}: refused without a reason")
            continue
        except Exception as error:
            wrong.append(f"{kinds} {number}: {error!r}")
            continue
        done += 1
        # Every file that was edited, and of one set in ten every file.
        want = edited if number % 10 else {**files, **edited}
        have = {root.name: tangle(changed, root).text()
                for root in changed.roots if root.name in want}
        if changed.faults or have != want:
            wrong.append(f"{kinds} {number}: stitched wrongly")
    return done, refused, wrong


def reformat(paths):
    """Format files in another style and stitch each; the refusals."""
    book, refused = read_book(HOME), []
    files = files_of(book)
    style = "--style={BasedOnStyle: WebKit, ColumnLimit: 80}"
    for path in paths:
        new = subprocess.run(["clang-format", style], input=files[path],
                             text=True, capture_output=True, check=True).stdout
        try:
            _, _, changed = stitch(book, {path: new})
        except Fault as fault:
            refused.append(str(fault))
            continue
        if tangle(changed, changed.chunks[path]).text() != new:
            raise AssertionError(f"{path} was stitched wrongly")
    return refused


class Fuzzing(unittest.TestCase):
    """Random edits of the real book: stitched exactly, or refused."""

    def run_sets(self, kinds, count):
        self.assertTrue(read_book(HOME).roots, "the book defines no file")
        step = 50
        tasks = [(kinds, FUZZ_SEED + k, min(step, count - k))
                 for k in range(0, count, step)]
        with multiprocessing.Pool(min(2, os.cpu_count() or 1)) as pool:
            results = pool.map(fuzz, tasks, 1)
        done = sum(r[0] for r in results)
        refused = sum(r[1] for r in results)
        print(f"{kinds.lower()} edits, seed {FUZZ_SEED}: {done} stitched, "
              f"{refused} refused", file=sys.stderr)
        self.assertEqual([w for r in results for w in r[2]], [])
        self.assertEqual(done + refused, count)
        return done, refused

    def test_ordinary_edits(self):
        done, refused = self.run_sets("ORDINARY", FUZZ_SETS // 2)
        self.assertLess(refused, 0.2 * (done + refused))

    def test_all_edits(self):
        done, _ = self.run_sets("ALL", FUZZ_SETS - FUZZ_SETS // 2)
        self.assertGreater(done, 0)

    @unittest.skipUnless(shutil.which("clang-format"), "clang-format is absent")
    def test_reformatting(self):
        """The whole source in another style, a file at a time."""
        paths = [root.name for root in read_book(HOME).roots
                 if root.name.endswith((".c", ".h"))]
        with multiprocessing.Pool(2) as pool:
            refused = [fault for faults in pool.map(
                reformat, [paths[k::8] for k in range(8)], 1)
                for fault in faults]
        print(f"reformatting: {len(paths) - len(refused)} files stitched, "
              f"{len(refused)} refused", file=sys.stderr)
        self.assertLessEqual(len(refused), 0.2 * len(paths), refused)


if __name__ == "__main__":
    unittest.main()
