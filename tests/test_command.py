"""The command, as a person or a script meets it: output, messages, exit codes.

0 is success, 1 an error found while working (one line on standard error), 2 a
mistake in the call.
"""

import os
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "scripts"))
import reference  # noqa: E402

BUILD = os.path.join(ROOT, os.environ.get("FOLIO_BUILD", "build"))
FOLIO = os.path.join(BUILD, "folio")
MODEL = os.path.join(ROOT, "golden", "folio-tiny.gguf")
GREEDY = os.path.join(ROOT, "golden", "folio-tiny-greedy.txt")


class Command(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def folio(self, *arguments, code=0, cwd=ROOT, stdin=b""):
        """(stdout, stderr) as bytes and text, after checking the exit code."""
        done = subprocess.run([FOLIO, *arguments], cwd=cwd, input=stdin,
                              capture_output=True, timeout=120)
        message = done.stderr.decode("utf-8", "replace")
        self.assertEqual(done.returncode, code, (arguments, message))
        return done.stdout, message

    def refused(self, *words, arguments):
        """A typed error: exit 1, nothing but one line, with these words."""
        output, message = self.folio(*arguments, code=1)
        self.assertTrue(message.startswith("folio: "), message)
        self.assertEqual(message.count("\n"), 1, message)
        for word in words:
            self.assertIn(word, message)
        return output

    def mistaken(self, *words, arguments):
        """A mistake in the call: exit 2, no output, a message with these."""
        output, message = self.folio(*arguments, code=2)
        self.assertEqual(output, b"")
        for word in words:
            self.assertIn(word, message)


class Door(Command):
    def test_lists_its_commands(self):
        output, message = self.folio("help")
        self.assertEqual(message, "")
        for name in ("run", "logits", "help"):
            self.assertIn("\n  " + name + " ", output.decode())
        self.assertEqual(self.folio("--help")[0], output)
        self.assertEqual(self.folio("-h")[0], output)
        self.assertEqual(self.folio(code=2)[1], output.decode())

    def test_knows_no_other_command(self):
        self.mistaken("no command 'walk'", "folio help", arguments=["walk"])
        self.mistaken("no command 'walk'", arguments=["help", "walk"])

    def test_every_command_has_help(self):
        listed = self.folio("help")[0].decode().split("Commands:\n")[1]
        names = [line.split()[0] for line in listed.splitlines()
                 if line.startswith("  ")]
        self.assertIn("run", names)
        for name in names:
            if name == "help":
                continue
            output = self.folio(name, "--help")[0].decode()
            self.assertTrue(output.startswith("Usage: folio " + name), output)
            self.assertEqual(self.folio("help", name)[0].decode(), output)

    def test_lost_output_is_no_success(self):
        for arguments in (["help"], ["run", "-n", "1", "-m", MODEL]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([FOLIO, *arguments], stdout=full,
                                      stderr=subprocess.PIPE, timeout=120)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn(b"No space left", done.stderr)


class Run(Command):
    def test_continues_a_text(self):
        output, message = self.folio("run", "-p", "A block", "-n", "20")
        self.assertTrue(output.startswith(b"A block"))
        self.assertGreater(len(output), len("A block") + 20)
        self.assertTrue(output.endswith(b"\n"))
        for word in ("prompt", "decode", "tokens/s", "first token", "blocks",
                     "bytes/token", "utilisation"):
            self.assertIn(word, message)

    def test_has_a_prompt_and_a_model_of_its_own(self):
        for folder in (ROOT, self.folder):
            output = self.folio("run", "-n", "70", cwd=folder)[0]
            self.assertGreater(len(output.split()), 30)

    def test_same_seed_same_text(self):
        def text(*options):
            return self.folio("run", "-n", "40", "--top-p", "1", "--top-k",
                              "0", "--temp", "1.5", *options)[0]
        first = text("--seed", "5")
        self.assertEqual(text("--seed", "5"), first)
        self.assertEqual(text("--seed", "5", "--chunk", "1"), first)
        self.assertEqual(text("--seed", "5", "--block-size", "8"), first)
        self.assertNotEqual(text("--seed", "6"), first)
        self.assertNotEqual(text("--temp", "0"), first)
        greedy = text("--temp", "0")
        self.assertEqual(text("--temp", "0", "--seed", "9"), greedy)
        self.assertEqual(text("--top-k", "1"), greedy)
        self.assertEqual(text("--top-p", "0"), greedy)

    def test_cache_types(self):
        sizes = []
        for kind in ("f32", "f16", "bf16"):
            output, message = self.folio("run", "-n", "10", "--kv-type", kind)
            self.assertGreater(len(output), 20)
            line = next(x for x in message.splitlines() if "cache" in x)
            self.assertTrue(line.endswith(kind))
            sizes.append(int(line.split()[1]))
        self.assertEqual(sizes, [sizes[0], sizes[0] // 2, sizes[0] // 2])

    def test_reads_standard_input(self):
        output = self.folio("run", "-p", "-", "-n", "1",
                            stdin=b"Two\nlines, \xe2\x82\xac")[0]
        self.assertTrue(output.startswith(b"Two\nlines, \xe2\x82\xac"))
        self.assertEqual(
            self.folio("run", "-p", "-", "-n", "9", stdin=b"Why")[0],
            self.folio("run", "-p", "Why", "-n", "9")[0])

    def test_any_prompt_is_a_prompt(self):
        for prompt in ("", " ", "\u65e5\u672c", "--help", "<|end|>"):
            self.folio("run", "-n", "2", "-p", prompt)

    def test_answers_a_question(self):
        question = "What is a block table?"
        output = self.folio("run", "--chat", "-p", question, "--temp", "0")[0]
        self.assertNotIn(question.encode(), output)
        self.assertIn(b"block", output)
        self.assertFalse(output.startswith(b" "))

    def test_stops_at_the_end_of_the_context(self):
        output = self.folio("run", "--ctx", "30", "-n", "1000", "--ids", "-p",
                            "A block table")[0]
        self.assertLess(len(output.split()), 30)

    def test_mistakes(self):
        for flag, value, word in (
                ("--temp", "warm", "--temp"), ("--temp", "-1", "--temp"),
                ("--temp", "nan", "--temp"), ("--top-p", "1.5", "--top-p"),
                ("--top-k", "-3", "--top-k"), ("--top-k", "1e3", "--top-k"),
                ("--seed", "-1", "--seed"), ("--seed", "1x", "--seed"),
                ("-n", "0", "-n"), ("-n", "", "-n"), ("--ctx", "0", "--ctx"),
                ("--ctx", "99999999999999999999", "--ctx"),
                ("--kv-type", "q8_0", "--kv-type"), ("-d", "gpu", "gpu"),
                ("--chunk", "0", "--chunk"),
                ("--block-size", "x", "--block-size")):
            self.mistaken(word, value, "folio run --help",
                          arguments=["run", flag, value])
        self.mistaken("stray", arguments=["run", "stray"])
        self.mistaken("stray", arguments=["run", "--", "stray"])
        self.mistaken("--nonsense", arguments=["run", "--nonsense"])

    def test_errors(self):
        missing = self.path("none.gguf")
        self.refused(missing, "No such file", arguments=["run", "-m", missing])
        self.refused(self.folder, arguments=["run", "-m", self.folder])
        self.refused("100000", arguments=["run", "--ctx", "100000"])
        output = self.refused("context", "8", arguments=[
            "run", "--ctx", "8", "-p", "This is far too long " * 9])
        self.assertEqual(output, b"")
        wrong = self.path("wrong.gguf")
        with open(wrong, "wb") as f:
            f.write(b"GGUF" + b"\xff" * 100)
        self.refused("GGUF", arguments=["run", "-m", wrong])


class Memory(Command):
    def test_a_device_too_small_tells_both_numbers(self):
        _, message = self.folio("run", "-m", MODEL, "--memory", "1M", "-n", "1",
                                code=1)
        self.assertRegex(message, r"\d+.*1048576|1048576.*\d+", message)

    def test_a_device_large_enough_says_the_same_words(self):
        wanted, _ = self.folio("run", "-m", MODEL, "-n", "4")
        text, _ = self.folio("run", "-m", MODEL, "-n", "4", "--memory", "1G")
        self.assertEqual(text, wanted)

    def test_sizes_are_read_with_care(self):
        for size in "0", "-1", "1X", "1GB", "M", "", "99999999999999999999":
            _, message = self.folio("run", "--memory", size, code=2)
            self.assertIn("--memory", message)


class Greedy(Command):
    def test_draws_the_pinned_tokens(self):
        with open(GREEDY, encoding="utf-8") as f:
            prompt, ids = f.read().splitlines()
        output = self.folio("run", "-p", prompt, "-n", "64", "--temp", "0",
                            "--ids")[0]
        self.assertEqual(output.decode().strip(), ids)

    def test_float64_would_have_drawn_them(self):
        with open(GREEDY, encoding="utf-8") as f:
            prompt, ids = f.read().splitlines()
        drawn = [int(word) for word in ids.split()]
        self.assertEqual(len(drawn), 64)
        output = self.folio("tokenize", "--ids", "-m", MODEL, "--", prompt)[0]
        given = [int(word) for word in output.split()]
        logits = reference.Reference(MODEL).logits(given + drawn)
        for i, token in enumerate(drawn):
            row = logits[len(given) + i - 1]
            self.assertLess(row.max() - row[token], 1e-3, "token %d" % i)


class Logits(Command):
    def logits(self, *options):
        out = self.path("out.safetensors")
        self.folio("logits", "-m", MODEL, "-o", out, *options)
        return reference.read_safetensors(out, "logits")

    def test_writes_every_row(self):
        rows = self.logits("--tokens", "1,5,9,300")
        with open(self.path("out.safetensors"), "rb") as f:
            self.assertLess(struct.unpack("<Q", f.read(8))[0], 200)
        self.assertEqual(rows.shape[0], 4)
        self.assertGreater(rows.shape[1], 300)
        want = reference.Reference(MODEL).logits([1, 5, 9, 300])
        worst, at = reference.worst_difference(rows, want)
        print("worst absolute difference %.3g at %s" % (worst, at))
        self.assertTrue(reference.agrees(worst, 1e-3))

    def test_reads_ids_from_a_file(self):
        want = self.logits("--tokens", "1,5,9")
        with open(self.path("ids"), "w", encoding="ascii") as f:
            f.write("1, 5\n9\n")
        got = self.logits("--tokens-file", self.path("ids"), "--chunk", "2")
        worst = reference.worst_difference(got, want)[0]
        self.assertTrue(reference.agrees(worst, 1e-4))

    def test_is_stable(self):
        self.logits("--tokens", "1,2,3")
        with open(self.path("out.safetensors"), "rb") as f:
            first = f.read()
        self.logits("--tokens", "1,2,3")
        with open(self.path("out.safetensors"), "rb") as f:
            self.assertEqual(f.read(), first)

    def test_mistakes(self):
        out = self.path("out")
        self.mistaken("--tokens", arguments=["logits", "-o", out])
        self.mistaken("--tokens", arguments=[
            "logits", "-o", out, "--tokens", "1", "--tokens-file", "x"])
        self.mistaken("-o", arguments=["logits", "--tokens", "1"])
        self.mistaken("stray", arguments=["logits", "stray"])

    def test_errors(self):
        out = self.path("out")
        for ids in ("1,x", "-1", "1;2", "99999999999", "", ","):
            self.refused("token id", arguments=[
                "logits", "-o", out, "--tokens=" + ids])
        self.refused("vocabulary", arguments=[
            "logits", "-o", out, "--tokens", "1,1000000"])
        self.refused("context of 2", arguments=[
            "logits", "-o", out, "--tokens", "1,2,3", "--ctx", "2"])
        self.refused("none", "No such file", arguments=[
            "logits", "-o", out, "--tokens-file", self.path("none")])
        self.refused("no such", arguments=[
            "logits", "--tokens", "1", "-o", self.path("no such/out")])
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    unittest.main()
