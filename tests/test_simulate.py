"""`folio simulate`: an op on the simulated GPU, its mistakes and its traffic."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("FOLIO_BUILD", "build"))
FOLIO = os.path.join(BUILD, "folio")
MAPS = os.path.join(ROOT, "scripts", "figures", "simulate_maps.py")


def run(*words):
    return subprocess.run([FOLIO, "simulate", *words], capture_output=True,
                          text=True, cwd=ROOT)


def counted(*words):
    done = run(*words, "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def moved(result, memory="device"):
    return sum(line["moved"] for kernel in result["kernels"]
               for line in kernel["lines"] if line["memory"] == memory)


class Simulate(unittest.TestCase):
    def test_every_op_is_right_and_quiet(self):
        for op in ("embed", "rmsnorm", "linear", "add", "silu_mul",
                   "gather_rows", "rope", "kv_write", "kv_copy", "sample",
                   "attention_decode", "attention_prefill",
                   "attention_contiguous", "pool"):
            with self.subTest(op=op):
                result = counted(op, "--length", "64")
                self.assertEqual(result["status"], "ok")
                self.assertTrue(result["same_bits"])
                self.assertLessEqual(result["error"], 1e-3)
                self.assertEqual(result["reports"], [])
                self.assertGreater(len(result["kernels"]), 0)

    def test_schedules_change_no_answer(self):
        for seed in range(1, 4):
            result = counted("attention_decode", "--seed", str(seed))
            self.assertLessEqual(result["error"], 1e-3)
            self.assertEqual(result["reports"], [])
            self.assertEqual(result["schedule"], seed)

    def test_traffic_counts_the_least_there_is(self):
        result = counted("add", "-T", "8", "-C", "64")
        [kernel] = result["kernels"]
        self.assertEqual(kernel["unique_read"], 2 * 8 * 64 * 4)
        self.assertEqual(kernel["unique_written"], 8 * 64 * 4)
        self.assertEqual(moved(result), 3 * 8 * 64 * 4)

    def test_traffic_ranks_the_ladder(self):
        first = moved(counted("attention_decode_v1", "--length", "64"))
        later = moved(counted("attention_decode_v7", "--length", "64"))
        self.assertGreater(first, 4 * later)

    def test_traffic_names_kernel_lines(self):
        for kernel in counted("attention_decode_v7")["kernels"]:
            for line in kernel["lines"]:
                *_, src, cuda, name = pathlib.Path(line["file"]).parts
                self.assertEqual((src, cuda), ("src", "cuda"))
                self.assertNotIn(name, ("kernel.cuh", "instructions.cuh"))
                self.assertGreater(line["moved"], 0)

    def test_words_say_the_same_as_json(self):
        words = run("rmsnorm").stdout
        self.assertIn("answers: as they should be", words)
        self.assertIn("mistakes: 0 reported", words)
        self.assertIn("predicts no time", words)
        for line in counted("rmsnorm")["kernels"][0]["lines"]:
            self.assertRegex(words, rf" {line['requests']} +{line['needed']} "
                             rf"+{line['moved']} .*{line['file']}:"
                             rf"{line['line']}\n")

    def test_a_golden_can_be_named(self):
        self.assertEqual(counted("golden/rope_neox.safetensors")["status"],
                         "ok")

    def test_a_wrong_golden_is_found_out(self):
        data = bytearray(pathlib.Path(
            ROOT, "golden/add.safetensors").read_bytes())
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
            data[-2] ^= 0x40
            file.write(data)
            file.flush()
            self.assertEqual(run(file.name).returncode, 1)

    def test_what_cannot_be_simulated_is_refused(self):
        for code, words in ((1, ["no_such_op"]), (2, []), (2, ["add", "-C"]),
                            (2, ["add", "two"]), (2, ["linear", "-C", "257"]),
                            (2, ["attention_decode", "-H", "6", "-K", "4"]),
                            (2, ["attention_decode", "-t", "q8_0"]),
                            (2, ["attention_decode", "--length", "4096"]),
                            (1, ["attention_decode_v9"])):
            with self.subTest(words=words):
                self.assertEqual(run(*words).returncode, code)

    def test_a_small_device_runs_out(self):
        done = run("attention_decode", "--memory", "1", "--length", "256")
        self.assertEqual(done.returncode, 1)
        self.assertIn("memory", done.stdout + done.stderr)

    def test_maps_are_drawn(self):
        text = run("linear", "--json").stdout
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([MAPS, folder], input=text, text=True,
                                  capture_output=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            drawn = list(pathlib.Path(folder).glob("*.svg"))
            self.assertEqual(len(drawn), len(done.stdout.splitlines()))
            self.assertGreater(len(drawn), 2)
            for path in drawn:
                self.assertIn("</svg>", path.read_text())


if __name__ == "__main__":
    unittest.main()
