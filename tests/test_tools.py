#!/usr/bin/env python3
"""The checkers of the front door, each shown a fault it must catch."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HOME = pathlib.Path(__file__).resolve().parent.parent


def run(*command, **options):
    return subprocess.run([str(word) for word in command], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, **options)


class Scratch(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def file(self, name, text, executable=False):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if executable:
            path.chmod(0o755)
        return path


class Lint(Scratch):
    def lint(self):
        return run(sys.executable, HOME / "scripts/lint", self.folder)

    def test_allowed_include_passes(self):
        self.file("model/a.c", '#include "common/status.h"\n')
        self.assertEqual(self.lint().returncode, 0)

    def test_model_may_not_name_a_backend(self):
        path = self.file("model/a.c", '\n#include "cpu/cpu.h"\n')
        done = self.lint()
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{path}:2: model may not include cpu", done.stdout)

    def test_common_may_not_look_up(self):
        self.file("common/a.h", '#  include "engine/session.h"\n')
        self.assertEqual(self.lint().returncode, 1)

    def test_wide_line_is_found(self):
        path = self.file("cpu/a.c", "/*" + 79 * "x" + "*/\n")
        done = self.lint()
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{path}:1: 83 columns", done.stdout)


class Runner(Scratch):
    def runner(self, *programs, **environment):
        return run(sys.executable, HOME / "scripts/test", *programs,
                   env=os.environ | environment)

    def program(self, name, output, code=0):
        return self.file(name, f"#!/bin/sh\ncat <<'END'\n{output}\nEND\n"
                         f"exit {code}\n", executable=True)

    def test_counts_passes(self):
        path = self.program("good", "[       OK ] one\n[       OK ] two")
        done = self.runner(path, path)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stdout.splitlines()[-1],
                         "4 passed, 0 failed, 0 skipped")

    def test_a_failure_named_twice_counts_once(self):
        path = self.program(
            "bad", "[       OK ] one\n[  FAILED  ] two\n"
            "[  FAILED  ] tests: 1 test(s), listed below:\n[  FAILED  ] two", 1)
        done = self.runner(path)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout.splitlines()[-1],
                         "1 passed, 1 failed, 0 skipped")

    def test_crash_is_a_failure(self):
        path = self.program("crash", "[       OK ] one", 139)
        done = self.runner(path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("1 failed", done.stdout.splitlines()[-1])

    def test_no_test_is_a_failure(self):
        self.assertEqual(self.runner(self.program("none", "hello")).returncode, 1)

    def test_skip_is_not_a_pass_and_shows_its_reason(self):
        path = self.program("skips", "SKIP: no such thing here\n"
                            "[  SKIPPED ] one\n[       OK ] two")
        done = self.runner(path)
        self.assertIn("SKIP: no such thing here", done.stdout)
        self.assertEqual(done.stdout.splitlines()[-1],
                         "1 passed, 0 failed, 1 skipped")

    def test_late_program_is_a_failure(self):
        path = self.file("late", "#!/bin/sh\nexec sleep 60\n", executable=True)
        self.assertEqual(self.runner(path, TEST_LIMIT="1").returncode, 1)

    def test_unittest_failures_are_counted(self):
        path = self.file("t.py", "import unittest\n"
                         "class T(unittest.TestCase):\n"
                         "    def test_a(self): self.fail()\n"
                         "    def test_b(self): pass\n"
                         "    @unittest.skip('why')\n"
                         "    def test_c(self): pass\n"
                         "unittest.main()\n")
        done = self.runner(path)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout.splitlines()[-1],
                         "1 passed, 1 failed, 1 skipped")


class Deps(Scratch):
    """scripts/deps with a package database and tools of our own making."""

    def deps(self, uid, present, apt=True):
        tools = self.folder / "bin"
        tools.mkdir()
        for name in ("sh", "grep"):
            (tools / name).symlink_to(shutil.which(name))
        said = "echo 'install ok installed'" if present else "exit 1"
        self.file("bin/dpkg-query", f"#!/bin/sh\n{said}\n", True)
        self.file("bin/id", f"#!/bin/sh\necho {uid}\n", True)
        if apt:
            self.file("bin/apt-get", '#!/bin/sh\necho "ran: apt-get $*"\n', True)
        for name in ("gcc", "g++", "make",
                     "pkg-config") if present else ():
            self.file(f"bin/{name}", "#!/bin/sh\n", True)
        return run(shutil.which("sh"), HOME / "scripts/deps", "build",
                   env={"PATH": str(tools)})

    def test_complete_machine_is_not_touched(self):
        done = self.deps(uid=0, present=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_root_installs_what_is_missing(self):
        done = self.deps(uid=0, present=False)
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"ran: apt-get install .*libcmocka-dev")

    def test_others_are_told_the_command(self):
        done = self.deps(uid=1000, present=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("sudo apt-get update && sudo apt-get install",
                      done.stdout)
        self.assertNotIn("ran:", done.stdout)

    def test_without_apt_the_packages_are_named(self):
        done = self.deps(uid=0, present=False, apt=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("libopenblas-openmp-dev", done.stdout)


if __name__ == "__main__":
    unittest.main()
