"""`folio bench`: its counts and its output; a speed cannot be tested."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("FOLIO_BUILD", "build"))
FOLIO = os.path.join(BUILD, "folio")
MAKE_MODEL = os.path.join(ROOT, "scripts", "make_model.py")

# Make a small model and measure it
def make_model(folder, *flags):
    path = os.path.join(folder, "model.gguf")
    subprocess.run([sys.executable, MAKE_MODEL, "--layers", "2", "--hidden",
                    "64", "--heads", "2", "--feed-forward", "96", "--vocab",
                    "512", "--context", "1024", *flags, "-o", path],
                   check=True, capture_output=True)
    return path


def run_bench(*words):
    return subprocess.run([FOLIO, "bench", *words], capture_output=True,
                          text=True, timeout=120)


def bench(*words):
    done = run_bench(*words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Bench(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    # Ask that a model is charged with its own bytes
    def test_costs_are_those_of_the_tensors(self):
        C, F, V, layers = 64, 96, 512, 2
        matrices = layers * (3 * C * C + C * C + 2 * F * C + C * F)
        norms = 4 * (2 * layers * C + C)
        for flags, row in ((["--type", "f32"], 4 * C), (["--tied"], 0)):
            path = make_model(self.folder, *flags)
            result = bench("-r", "1", path)
            model = result["models"][0]
            self.assertEqual(result["clock"], "wall")
            self.assertEqual(model["bytes_per_token"],
                             4 * matrices + norms + 4 * V * C + row)
            self.assertEqual(model["flops_per_prompt_token"], 2 * matrices)

    # Ask for the form of the output
    def test_series_have_a_number_a_round(self):
        path = make_model(self.folder)
        result = bench("-r", "2", "-p", path, path)
        self.assertEqual(result["clock"], "processor")
        self.assertEqual(len(result["models"]), 2)
        series = [model[name] for model in result["models"] for name in (
            "read_bytes_per_second", "decode_tokens_per_second",
            "sgemm_flops_per_second", "prefill_tokens_per_second")]
        for numbers in series:
            self.assertEqual(len(numbers), 2)
            self.assertTrue(all(number > 0 for number in numbers))

    # Ask that nonsense is refused
    def test_refuses_nonsense(self):
        missing = os.path.join(self.folder, "missing.gguf")
        for words, code in (([missing], 1), (["-r", "0"], 2), (["-d", "x"], 2),
                            (["m"] * 9, 2), ([], 2)):
            done = run_bench(*words)
            self.assertEqual((done.returncode, done.stdout), (code, ""))
            self.assertNotEqual(done.stderr, "")


if __name__ == "__main__":
    unittest.main()
