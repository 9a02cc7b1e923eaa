#!/usr/bin/env python3
"""The list of rows, shown everything that must make it fail."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HOME = pathlib.Path(__file__).resolve().parent.parent

ROWS = """\
# Two rows that must have a test, and one that may.

A1 must blocks are handed out
D4 must a token takes its bytes
C1 may something is measured
"""

SOURCE = """\
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_A1_D4_blocks),
        cmocka_unit_test_prestate(d4_bytes_of_a_token, &stage),
        cmocka_unit_test(something_else),
    };
}
"""

OUTPUT = """\
[ RUN      ] test_A1_D4_blocks
[       OK ] test_A1_D4_blocks
[ RUN      ] d4_bytes_of_a_token
cpu: 12288 bytes
sim: 12288 bytes
[       OK ] d4_bytes_of_a_token
[ RUN      ] something_else
[       OK ] something_else
"""

PYTHON = """\
import unittest


class Rows(unittest.TestCase):
    def NAME(self):
        pass


unittest.main()
""".replace("NAME", "test_d4_in_python_on_the_sim")


class Rows(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.put("rows.txt", ROWS)
        self.put("tests/test_blocks.c", SOURCE)
        self.put("tests/test_python.py", PYTHON)
        self.says(OUTPUT)

    def put(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def says(self, output, code=0):
        program = self.put("build/tests/test_blocks",
                           f"#!/bin/sh\ncat <<'END'\n{output}END\nexit {code}\n")
        program.chmod(0o755)

    def rows(self, *flags):
        return subprocess.run(
            [sys.executable, HOME / "scripts/test_rows", *flags,
             "--rows", self.folder / "rows.txt",
             "--tests", self.folder / "tests", self.folder / "build"],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            check=False)

    def assert_fails(self, words):
        done = self.rows()
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(words, done.stdout)

    def test_every_row_is_told_with_tests_devices_and_ends(self):
        done = self.rows()
        self.assertEqual(done.returncode, 0, done.stdout)
        lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
        for line in ("A1 blocks are handed out",
                     "ok cpu test_blocks test_A1_D4_blocks",
                     "ok cpu+sim test_blocks d4_bytes_of_a_token",
                     "ok sim test_python test_d4_in_python_on_the_sim",
                     "C1 something is measured (no test)",
                     "3 rows, 2 with tests; 3 tests, 3 passed"):
            self.assertIn(line, lines)
        self.assertNotIn("something_else", done.stdout)

    def test_a_row_without_a_test_fails(self):
        self.put("rows.txt", ROWS + "E9 must nobody proves this\n")
        self.assert_fails("E9 has no test")

    def test_a_failed_test_fails(self):
        self.says(OUTPUT.replace("[       OK ] d4", "[  FAILED  ] d4"), 1)
        self.assert_fails("test_blocks: d4_bytes_of_a_token failed")

    def test_a_failed_test_that_claims_success_fails(self):
        self.says(OUTPUT.replace("[       OK ] d4", "[  FAILED  ] d4"))
        self.assert_fails("test_blocks: d4_bytes_of_a_token failed")

    def test_a_skipped_test_has_proved_nothing(self):
        self.says(OUTPUT.replace("[       OK ] d4", "[  SKIPPED ] d4"))
        self.assert_fails("test_blocks: d4_bytes_of_a_token skipped")

    def test_a_crash_before_the_end_fails(self):
        self.says(OUTPUT.split("[       OK ] d4")[0], 134)
        self.assert_fails("test_blocks: d4_bytes_of_a_token did not run")

    def test_a_crash_after_the_end_fails(self):
        self.says(OUTPUT, 23)
        self.assert_fails("test_blocks: exit status 23")

    def test_a_program_that_is_not_there_fails(self):
        (self.folder / "build/tests/test_blocks").unlink()
        self.assert_fails("test_blocks: test_A1_D4_blocks did not run")

    def test_a_failure_in_python_fails(self):
        self.put("tests/test_python.py", PYTHON.replace("pass", "self.fail()"))
        self.assert_fails("test_python: test_d4_in_python_on_the_sim fail")

    def test_an_id_that_is_no_row_is_told(self):
        self.put("tests/test_blocks.c", SOURCE.replace("_A1_", "_A9_A1_"))
        self.assert_fails("proves A9, which is no row")

    def test_no_tests_at_all_fail(self):
        shutil.rmtree(self.folder / "tests")
        (self.folder / "tests").mkdir()
        self.assert_fails("no test carries the id of a row")

    def test_the_list_of_this_house_has_its_tests(self):
        done = subprocess.run(
            [sys.executable, HOME / "scripts/test_rows", "--list"], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_a_list_that_is_not_one_is_refused(self):
        self.put("rows.txt", ROWS + "A1 must once more\n")
        self.assert_fails("rows.txt:6: not a row, or not a new one")


if __name__ == "__main__":
    unittest.main()
