#!/usr/bin/env python3
"""The goldens as a stranger meets them: the page's reader, and planted faults."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HOME = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = HOME / "golden"
FOLIO = HOME / os.environ.get("FOLIO_BUILD", "build") / "folio"


def run(*command):
    return subprocess.run([str(word) for word in command], cwd=HOME, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)


class TheReaderOnThePage(unittest.TestCase):
    def listing(self):
        page = (HOME / "book/13-goldens.md").read_text()
        return re.search(r"```python\n(.*?)```", page, re.S)[1]

    def test_listing_runs_and_agrees(self):
        done = run(sys.executable, "-c", self.listing(),
                   GOLDEN / "rmsnorm.safetensors")
        self.assertEqual(done.returncode, 0, done.stdout)
        worst = float(done.stdout.split()[-1])
        self.assertLess(worst, 1e-5, done.stdout)

    def test_listing_sees_a_wrong_kernel(self):
        wrong = self.listing().replace("np.sqrt(mean +", "np.sqrt(1.01 * mean +")
        self.assertNotEqual(wrong, self.listing())
        done = run(sys.executable, "-c", wrong, GOLDEN / "rmsnorm.safetensors")
        self.assertGreater(float(done.stdout.split()[-1]), 1e-3, done.stdout)

    def test_reader_is_about_twenty_lines(self):
        reader = self.listing().split("\nabout, t =")[0]
        self.assertLessEqual(len(reader.splitlines()), 20)


class PlantedFaults(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def damaged(self, name, offset_from_end, byte):
        copy = self.folder / name
        data = bytearray((GOLDEN / name).read_bytes())
        data[-offset_from_end] = byte
        copy.write_bytes(data)
        return copy

    def test_sound_golden_passes(self):
        done = run(FOLIO, "golden", GOLDEN / "rmsnorm.safetensors")
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_one_wrong_number_fails(self):
        # The outputs come last: 0x42 as the top byte makes it about 50.
        path = self.damaged("rmsnorm.safetensors", 1, 0x42)
        done = run(FOLIO, "golden", path)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("1 of 672 wrong", done.stdout)

    def test_nan_in_the_file_fails(self):
        path = self.damaged("rmsnorm.safetensors", 1, 0x7F)
        data = bytearray(path.read_bytes())
        data[-2] = 0xC0
        path.write_bytes(data)
        self.assertEqual(run(FOLIO, "golden", path).returncode, 1)

    def test_one_wrong_block_id_fails(self):
        path = self.damaged("pool.safetensors", 8, 1)
        done = run(FOLIO, "golden", path)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("other bits", done.stdout)

    def test_later_files_are_checked_after_a_failure(self):
        path = self.damaged("rmsnorm.safetensors", 1, 0x42)
        done = run(FOLIO, "golden", path, GOLDEN / "add.safetensors")
        self.assertEqual(done.returncode, 1)
        self.assertIn("2 goldens checked, 1 wrong", done.stdout)

    def test_missing_file_has_a_message(self):
        done = run(FOLIO, "golden", self.folder / "none.safetensors")
        self.assertEqual(done.returncode, 1)
        self.assertIn("none.safetensors", done.stdout)

    def test_truncated_file_has_a_message(self):
        path = self.folder / "cut.safetensors"
        path.write_bytes((GOLDEN / "add.safetensors").read_bytes()[:100])
        done = run(FOLIO, "golden", path)
        self.assertEqual(done.returncode, 1, done.stdout)


class TheFolder(unittest.TestCase):
    def test_everything_is_listed_and_small(self):
        listed = {line.split()[1] for line in
                  (GOLDEN / "MANIFEST").read_text().splitlines()}
        there = {path.name for path in GOLDEN.iterdir()} - {"MANIFEST"}
        self.assertEqual(listed, there)
        size = sum(path.stat().st_size for path in GOLDEN.iterdir())
        self.assertLessEqual(size, 10e6)

    def test_hashes_are_those_of_the_files(self):
        done = subprocess.run(["sha256sum", "-c", "--quiet", "MANIFEST"],
                              cwd=GOLDEN, capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
