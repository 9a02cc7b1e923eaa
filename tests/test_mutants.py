#!/usr/bin/env python3
"""The runner of mutants told apart: killed, survived, and not to be tried."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HOME = pathlib.Path(__file__).resolve().parent.parent
COUNTED = {
    "file": "src/cpu/pool.c",
    "find": "pool->count[from[i]]++;",
    "put": "pool->count[from[i]] += 0;",
    "test": "test_pool",
    "why": "a fork does not count as a holder",
}


def mutants(*given):
    """(exit status, output) of the runner over a folder of these mutants."""
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        for number, mutant in enumerate(given):
            (folder / f"given-{number}.json").write_text(json.dumps(mutant))
        done = subprocess.run(
            [sys.executable, "scripts/mutants", "--folder", str(folder)],
            cwd=HOME, env=dict(os.environ, FOLIO_QUICK="1"), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return done.returncode, done.stdout
    finally:
        shutil.rmtree(folder)


class TheRunner(unittest.TestCase):
    def test_a_wrong_pool_is_killed_and_its_killer_named(self):
        status, output = mutants(COUNTED)
        self.assertEqual(status, 0, output)
        self.assertIn("killed    given-0 by test_pool: test_", output)

    def test_a_harmless_change_survives_and_fails_the_run(self):
        status, output = mutants(
            dict(COUNTED, put="pool->count[from[i]] += 1;"))
        self.assertEqual(status, 1, output)
        self.assertIn("SURVIVED  given-0", output)
        self.assertIn("0 killed, 1 not", output)

    def test_what_cannot_be_tried_is_no_kill(self):
        status, output = mutants(dict(COUNTED, find="no such line"),
                                 dict(COUNTED, put="not C at all"))
        self.assertEqual(status, 1, output)
        self.assertIn("BROKEN    given-0: its text occurs 0 times", output)
        self.assertIn("BROKEN    given-1: does not compile", output)

    def test_an_empty_folder_is_a_failure(self):
        status, output = mutants()
        self.assertNotEqual(status, 0)
        self.assertIn("no mutant", output)


if __name__ == "__main__":
    unittest.main()
