#!/usr/bin/env python3
"""Folio installed: the book's program, compiled and run by what is installed."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

HOME = pathlib.Path(__file__).resolve().parent.parent
BUILD = os.environ.get("FOLIO_BUILD", "build")
PROGRAM = HOME / "tests" / "examples" / "continue.c"
TEXT = "A page table"


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.prefix = cls.folder / "usr"
        cls.model = cls.prefix / "share/folio/folio-tiny.gguf"
        # Nothing of this folder or of a build around us leaks in.
        cls.environment = {
            "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "2",
            "PKG_CONFIG_PATH": str(cls.prefix / "lib/pkgconfig")}
        cls.make("install", f"PREFIX={cls.prefix}")

    @classmethod
    def run_in(cls, folder, *command, **more):
        done = subprocess.run(
            [str(word) for word in command], cwd=folder, text=True, check=False,
            env={**cls.environment, **more}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        if done.returncode:
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    @classmethod
    def make(cls, *arguments):
        return cls.run_in(HOME, "make", f"BUILD={BUILD}", *arguments)

    def flags(self, *wanted):
        return self.run_in(self.folder, "pkg-config", *wanted, "folio").split()

    def files(self, root):
        return sorted(str(path.relative_to(root)) for path in root.rglob("*")
                      if not path.is_dir())

    def expected(self):
        """What `folio run` says after the text, greedily and with seed 0."""
        said = ""
        for way in (["--temp", "0"], ["--temp", "0.7", "--top-k", "0"]):
            said += self.run_in(
                self.folder, self.prefix / "bin/folio", "run", "-n", "24",
                "-p", TEXT, *way)[len(TEXT):]
        return said

    def test_the_program_is_short_and_stands_in_the_book(self):
        lines = PROGRAM.read_text().splitlines()
        self.assertLess(len(lines), 40)
        chapter = (HOME / "book/14-the-command.md").read_text()
        self.assertIn("\n".join(lines), chapter)

    def test_the_program_says_what_folio_run_says(self):
        self.run_in(self.folder, "cc", "-Wall", "-Wextra", "-Werror", PROGRAM,
                    *self.flags("--cflags", "--libs"), "-o", "continue")
        said = self.run_in(self.folder, "./continue", self.model, TEXT,
                           LD_LIBRARY_PATH=str(self.prefix / "lib"))
        self.assertEqual(said, self.expected())
        first, second = said.split("\n", 1)
        self.assertGreater(len(first), 20)
        self.assertNotEqual(first, second.rstrip("\n"))

    def test_the_archive_serves_as_well(self):
        flags = ["-l:libfolio.a" if flag == "-lfolio" else flag for flag
                 in self.flags("--static", "--cflags", "--libs")]
        self.assertIn("-l:libfolio.a", flags)
        self.run_in(self.folder, "cc", PROGRAM, *flags, "-o", "alone")
        self.assertEqual(self.run_in(self.folder, "./alone", self.model, TEXT),
                         self.expected())

    def test_a_wrong_call_of_the_program_is_told(self):
        self.run_in(self.folder, "cc", PROGRAM,
                    *self.flags("--cflags", "--libs"), "-o", "wrong")
        done = subprocess.run(
            [self.folder / "wrong", "/nowhere.gguf", TEXT], text=True,
            check=False, capture_output=True, env={
                **self.environment,
                "LD_LIBRARY_PATH": str(self.prefix / "lib")})
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("/nowhere.gguf", done.stderr)

    def test_every_header_stands_alone_in_c_and_in_cpp(self):
        root = self.prefix / "include/folio"
        headers = sorted(root.rglob("*.h"))
        self.assertGreater(len(headers), 8)
        for number, header in enumerate(headers):
            source = self.folder / f"alone{number}.c"
            source.write_text(f"#include <folio/{header.relative_to(root)}>\n")
            self.run_in(self.folder, "cc", "-std=c17", "-Wall", "-Wextra",
                        "-Werror", "-fsyntax-only", source,
                        *self.flags("--cflags"))
        source = self.folder / "alone.cc"
        source.write_text("#include <folio/folio.h>\nint main() {\n"
                          "    return !fo_backend_cpu.open;\n}\n")
        self.run_in(self.folder, "c++", "-Wall", "-Wextra", "-Werror", source,
                    *self.flags("--cflags", "--libs"), "-o", "alone-cpp")

    def test_the_library_shows_its_own_names_alone(self):
        names = self.run_in(self.folder, "nm", "-D", "--defined-only",
                            self.prefix / "lib/libfolio.so").split("\n")
        shown = [line.split()[-1] for line in names if line]
        self.assertIn("fo_session_fork", shown)
        self.assertEqual([n for n in shown if not n.startswith("fo_")], [])

    def test_another_root_gets_the_same_files_and_loses_them(self):
        root = self.folder / "root"
        self.make("install", "PREFIX=/opt/folio", f"DESTDIR={root}")
        there = root / "opt/folio"
        self.assertEqual(self.files(there), self.files(self.prefix))
        told = (there / "lib/pkgconfig/folio.pc").read_text()
        self.assertIn("prefix=/opt/folio\n", told)
        self.assertNotIn(str(root), told)
        self.make("uninstall", "PREFIX=/opt/folio", f"DESTDIR={root}")
        self.assertEqual(self.files(root), [])


if __name__ == "__main__":
    unittest.main()
