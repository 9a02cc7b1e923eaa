#!/usr/bin/env python3
"""The tools around CUDA, given a compiler and a GPU that say what we plant."""
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

HOME = pathlib.Path(__file__).resolve().parent.parent
KERNEL = """\
ptxas info    : Compiling entry function '{symbol}' for 'sm_90'
ptxas info    : Function properties for {symbol}
    {stack} bytes stack frame, {spill} bytes spill stores, {spill} bytes spill loads
ptxas info    : Used {registers} registers, used 1 barriers, 48 bytes smem
"""
V7_128 = "_ZN10folio_cuda19attention_decode_v7IfLi128EEEvPf"
V7_256 = "_ZN10folio_cuda19attention_decode_v7IfLi256EEEvPf"


def kernel(symbol, registers=64, spill=0):
    return KERNEL.format(symbol=symbol, registers=registers, spill=spill,
                         stack=spill)


class Planted(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def program(self, name, body):
        path = self.folder / name
        path.write_text("#!/bin/sh\n" + body)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def run_tool(self, *command, **environment):
        return subprocess.run(
            [str(word) for word in command], cwd=HOME, text=True,
            env=dict(os.environ, **environment), check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Report(Planted):
    def report(self, text, status=0):
        said = self.folder / "said"
        said.write_text(text)
        nvcc = self.program("nvcc", f"cat {said}\nexit {status}\n")
        return self.run_tool(sys.executable, "scripts/cuda_report",
                             "src/common/dtype.c", NVCC=str(nvcc))

    def test_a_kernel_is_told_with_its_registers(self):
        done = self.report(kernel(V7_128, registers=96))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout,
                         r"attention_decode_v7<float, 128> +96 +0 +0 +0")
        self.assertIn("of the 1 that must not spill, 0 do", done.stdout)

    def test_a_spill_at_128_fails(self):
        done = self.report(kernel(V7_256) + kernel(V7_128, spill=8))
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("spills: attention_decode_v7<float, 128>", done.stdout)

    def test_a_spill_elsewhere_is_told_and_allowed(self):
        done = self.report(kernel(V7_128) + kernel(V7_256, spill=16))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"v7<float, 256> +64 +16 +16 +16")

    def test_a_source_that_does_not_compile_fails(self):
        done = self.report("error: expected a ';'\n", status=2)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("expected a ';'", done.stdout)


class Present(Planted):
    def test_no_gpu_is_told_and_fails(self):
        self.program("nvidia-smi", "exit 9\n")
        done = self.run_tool("scripts/cuda_present", "gpu",
                             PATH=f"{self.folder}:{os.environ['PATH']}")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no NVIDIA GPU", done.stdout)

    def test_a_gpu_is_seen(self):
        self.program("nvidia-smi", "echo 'GPU 0: planted'\n")
        done = self.run_tool("scripts/cuda_present", "gpu",
                             PATH=f"{self.folder}:{os.environ['PATH']}")
        self.assertEqual((done.returncode, done.stdout), (0, ""))


class Judge(Planted):
    def judge(self, output, status):
        (self.folder / "tests").mkdir()
        self.program("tests/test_planted",
                     f"cat <<'END'\n{output}\nEND\nexit {status}\n")
        self.program("folio", "exit 1\n")
        return self.run_tool(sys.executable, "scripts/test_cuda", self.folder)

    def test_goldens_that_cannot_run_fail_the_whole(self):
        done = self.judge("[       OK ] test_a\nrow f16 worst 1e-4", 0)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("row f16 worst 1e-4", done.stdout)
        self.assertIn("1 passed, 1 failed, 0 skipped", done.stdout)

    def test_a_program_that_runs_nothing_has_failed(self):
        done = self.judge("nothing", 0)
        self.assertIn("no test ran", done.stdout)
        self.assertIn("0 passed, 2 failed", done.stdout)

    def test_a_skip_is_counted_and_shown(self):
        done = self.judge("SKIP: no such shape\n[  SKIPPED ] test_a", 0)
        self.assertIn("SKIP: no such shape", done.stdout)
        self.assertIn("1 skipped", done.stdout)

    def test_a_folder_without_tests_is_a_failure(self):
        done = self.run_tool(sys.executable, "scripts/test_cuda", self.folder)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no test program", done.stdout)


if __name__ == "__main__":
    unittest.main()
