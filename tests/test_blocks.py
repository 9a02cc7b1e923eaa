"""`folio blocks`: the walk of chapter 7 as it appears in a terminal."""

import os
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("FOLIO_BUILD", "build"))
FOLIO = os.path.join(BUILD, "folio")


def blocks(*words):
    return subprocess.run([FOLIO, "blocks", *words], capture_output=True,
                          text=True, encoding="utf-8", timeout=60)


class Blocks(unittest.TestCase):
    def test_A6_the_walk_is_drawn(self):
        done = blocks()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for line in (
                "Step 1: 5 tokens for sequence 0, 5 stored in 2 blocks",
                "Step 2: 3 more tokens for sequence 0, 8 stored in 2 blocks",
                "Step 3: 1 more token for sequence 0, 9 stored in 3 blocks",
                "  │    1 │    1 │    4 │ ──▶ │  4 │  5 │  6 │[ 7]│",
                "  │    2 │    2 │    8 │ ──▶ │[ 8]│  · │  · │  · │",
                "  block 2: slot 2 * 4 + 0 = 8",
                "  pool, 5 of 8 blocks free", "  0 0 0 · · · · ·"):
            self.assertIn(line, done.stdout.split("\n"))
        self.assertEqual(done.stdout.count("nines written there, found there,"
                                           " and in none of the other 31"), 3)

    def test_A6_sequences_interleave(self):
        done = blocks("-n", "2", "-s", "4,4", "--ascii")
        self.assertIn("  pool, 4 of 8 blocks free\n  0 1 0 1 . . . .\n",
                      done.stdout)
        self.assertTrue(done.stdout.isascii())

    def test_drawings_fit_a_terminal(self):
        for words in (("-b", "1"), ("-b", "256", "-s", "99"),
                      ("-b", "16", "-s", "999", "-p", "99"),
                      ("-b", "7", "-s", "9999", "-p", "2000"),
                      ("-n", "36", "-p", "256")):
            done = blocks(*words)
            self.assertGreater(len(done.stdout), 0)
            self.assertLessEqual(max(map(len, done.stdout.split("\n"))), 80)

    def test_A2_a_shortage_is_a_message(self):
        done = blocks("-p", "2", "-s", "5,4")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "folio: sequence 0 wants 1 block; "
                         "0 of 2 are free\n")
        self.assertIn("Step 1", done.stdout)

    def test_wrong_use_is_refused(self):
        for words in (("-s", "0"), ("-s", "5,,1"), ("-s", ""), ("-b", "257"),
                      ("-n", "37"), ("-p", "x"), ("-d", "abacus"), ("more",)):
            done = blocks(*words)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertIn("blocks", done.stderr)


if __name__ == "__main__":
    unittest.main()
