#!/usr/bin/env python3
"""The command on the simulated GPU, as a person meets it, checkers on."""
import os
import pathlib
import re
import subprocess
import unittest

HOME = pathlib.Path(__file__).resolve().parent.parent
FOLIO = HOME / os.environ.get("FOLIO_BUILD", "build") / "folio"
MODEL = HOME / "golden/folio-tiny.gguf"
GREEDY = HOME / "golden/folio-tiny-greedy.txt"
TOLERANCE = "1e-3"


def folio(*words):
    """(exit code, standard output, standard error)."""
    done = subprocess.run([str(word) for word in (FOLIO, *words)], cwd=HOME,
                          text=True, capture_output=True, timeout=300,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def run(*words):
    return folio("run", "-m", MODEL, *words)


class OnTheSimulatedGPU(unittest.TestCase):
    def test_every_op_agrees_with_its_goldens(self):
        cases = sorted(path for path in (HOME / "golden").glob("*.safetensors")
                       if not path.name.startswith("logits_"))
        code, out, err = folio("golden", "-d", "sim", "-t", TOLERANCE, *cases)
        self.assertEqual(code, 0, out + err)
        self.assertIn(f"{len(cases)} goldens checked, 0 wrong", out)
        self.assertNotIn("sim:", err)

    def test_the_same_64_greedy_tokens(self):
        prompt, ids = GREEDY.read_text().splitlines()
        code, out, err = run("-d", "sim", "-p", prompt, "-n", "64",
                             "--temp", "0", "--ids", "--kv-type", "f32")
        self.assertEqual(code, 0, err)
        self.assertEqual(out.strip(), ids)
        self.assertNotIn("sim:", err)

    def test_the_same_drawn_tokens(self):
        words = "-p", "A page", "-n", "6", "--ids", "--seed", "7"
        wanted = run("-d", "cpu", *words)[1]
        code, out, err = run("-d", "sim", *words)
        self.assertEqual((code, out), (0, wanted), err)

    def test_a_small_device_is_full_with_both_numbers(self):
        code, _, err = run("-d", "sim", "--memory", "2M", "-n", "1")
        self.assertEqual(code, 1, err)
        told = re.search(r"loading takes (\d+) bytes .* (2097152) are available", err)
        self.assertTrue(told, err)
        self.assertGreater(int(told[1]), int(told[2]))

    def test_no_device_of_that_name(self):
        code, _, err = run("-d", "gpu", "-n", "1")
        self.assertEqual(code, 2)
        self.assertIn("cpu sim", err)


if __name__ == "__main__":
    unittest.main()
