"""folio inspect and folio tokenize, as a person or a script meets them."""

import json
import os
import re
import struct
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("FOLIO_BUILD", "build"))
FOLIO = os.path.join(BUILD, "folio")
MODEL = os.path.join(ROOT, "golden", "folio-tiny.gguf")
GOLDEN = os.path.join(ROOT, "golden", "tokenizer.json")

PHI3_MINI = {"context_length": 4096, "embedding_length": 3072,
             "feed_forward_length": 8192, "block_count": 32,
             "attention.head_count": 32, "attention.head_count_kv": 32,
             "rope.dimension_count": 96, "vocab_size": 32064}


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def phi3_mini(changes={}):
    """The metadata of Phi-3-mini with a context of 4,096, and no tensors."""
    entries = [string("general.architecture") + struct.pack("<I", 8)
               + string("phi3"),
               string("phi3.attention.layer_norm_rms_epsilon")
               + struct.pack("<If", 6, 1e-5)]
    entries += [string("phi3." + key) + struct.pack("<II", 4, value)
                for key, value in {**PHI3_MINI, **changes}.items()]
    return struct.pack("<4sIQQ", b"GGUF", 3, 0, len(entries)) + b"".join(
        entries)


class Looking(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def file(self, data):
        path = os.path.join(self.folder, "file")
        with open(path, "wb") as f:
            f.write(data)
        return path

    def folio(self, *arguments, code=0, stdin=b""):
        done = subprocess.run([FOLIO, *arguments], cwd=ROOT, input=stdin,
                              capture_output=True, timeout=60)
        self.assertEqual(done.returncode, code, (arguments, done.stderr))
        if code:
            return done.stderr.decode("utf-8", "replace")
        return done.stdout.decode("utf-8", "replace")


class Inspect(Looking):
    def test_phi3_mini_takes_393216_bytes_a_token(self):
        shown = self.folio("inspect", self.file(phi3_mini()), "--fill",
                           "1.5G", "--block-size", "16")
        row = re.search(r"^ +f16 +(.*)$", shown, re.M)[1].split()
        self.assertEqual(row, ["393,216", "6,291,456", "256", "4,096"])
        row = re.search(r"^ +f32 +(.*)$", shown, re.M)[1].split()
        self.assertEqual(row, ["786,432", "12,582,912", "128", "2,048"])

    def test_d9_memory_shows_the_plan(self):
        for device in "cpu", "sim":
            shown = self.folio("inspect", MODEL, "--memory", "-d", device)
            parts = {m[0]: int(m[1].replace(",", "")) for m in re.findall(
                r"^  (\w+) +([0-9,]+)  +[0-9.]+ \w+  ", shown, re.M)}
            self.assertEqual(set(parts), {"weights", "workspace", "tables",
                                          "available"})
            rows = [[int(n.replace(",", "")) for n in line.split()]
                    for line in re.findall(r"^  (\d+ .*)$", shown, re.M)]
            self.assertEqual([row[0] for row in rows], [0, 1000, 1024])
            fixed = parts["weights"] + parts["workspace"] + parts["tables"]
            for tokens, wide, wide_all, narrow, narrow_all in rows:
                self.assertEqual(wide, -(-tokens // 16) * 16 * 3072)
                self.assertEqual((wide_all, narrow, narrow_all),
                                 (fixed + wide, wide // 2,
                                  fixed + wide // 2))
            # The plan is what a load is refused by.
            limit = rows[-1][2] - 1
            refused = self.folio("run", "-d", device, "--memory", str(limit),
                                 "-n", "1", code=1)
            self.assertIn("loading takes %d bytes" % (limit + 1), refused)

    def test_counts_blocks_beyond_64_bits(self):
        data = phi3_mini({"block_count": 1 << 24, "attention.head_count": 32,
                          "attention.key_length": 1 << 24,
                          "embedding_length": 3072})
        shown = self.folio("inspect", self.file(data), "-b", str(1 << 20))
        row = re.search(r"^ +f32 +(.*)$", shown, re.M)[1].split()
        self.assertEqual(row[2:], ["0", "0"])

    def test_shows_metadata_tensors_and_totals(self):
        shown = self.folio("inspect", MODEL)
        self.assertRegex(shown, r'general\.architecture +string +"phi3"')
        self.assertRegex(shown, r"tokenizer\.ggml\.tokens +string\[\d+\] +"
                         r'"<unk>" "<s>".* \.\.\.\n')
        rows = re.findall(r"^  \S+\.weight +(\S+) +[0-9 x]+? {2,}([0-9,]+)"
                          r" +[0-9,]+$", shown, re.M)
        total = re.search(r"^  all +(\d+) +([0-9,]+)", shown, re.M)
        self.assertGreater(len(rows), 30)
        self.assertEqual(len(rows), int(total[1]))
        self.assertEqual(sum(int(b.replace(",", "")) for _, b in rows),
                         int(total[2].replace(",", "")))

    def test_shows_safetensors(self):
        header = json.dumps({"__metadata__": {"op": "walk", "seed": "7"},
                             "w": {"dtype": "F32", "shape": [2, 3],
                                   "data_offsets": [0, 24]}}).encode()
        header += b" " * (-len(header) % 8)
        shown = self.folio("inspect", self.file(
            struct.pack("<Q", len(header)) + header + bytes(24)))
        self.assertRegex(shown, r'op +"walk"')
        self.assertRegex(shown, r'seed +"7"')
        self.assertRegex(shown, r"w +f32 +2 x 3 +24\n")

    def test_escapes_what_a_terminal_would_obey(self):
        data = (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + string("k\x1b[2J")
                + struct.pack("<I", 8) + string("v\x1b[2J\u009b2J\u00e9"))
        shown = self.folio("inspect", self.file(data))
        self.assertNotIn("\x1b", shown)
        self.assertNotIn("\u009b", shown)
        self.assertIn("\\xC2\\x9B2J\u00e9", shown)

    def test_refuses_what_is_no_model_file(self):
        for data in (b"", b"hello", b"GGUF", b"GGUF" + bytes(30)):
            message = self.folio("inspect", self.file(data), code=1)
            self.assertTrue(message.startswith("folio: "), message)
            self.assertEqual(message.count("\n"), 1, message)
        self.folio("inspect", os.path.join(self.folder, "none"), code=1)

    def test_knows_a_mistaken_call(self):
        for call in ([], [MODEL, MODEL], [MODEL, "--fill", "much"],
                     [MODEL, "--fill", "-1G"], [MODEL, "--fill", "nan"],
                     [MODEL, "--fill", "1GB"], [MODEL, "-b", "0"]):
            self.folio("inspect", *call, code=2)


class Tokenize(Looking):
    def ids(self, *arguments, **more):
        shown = self.folio("tokenize", "-m", MODEL, "--ids", *arguments,
                           **more)
        self.assertEqual(shown.count("\n"), 1)
        return [int(word) for word in shown.split()]

    def test_gives_the_golden_ids_for_any_bytes(self):
        with open(GOLDEN, encoding="utf-8") as f:
            cases = json.load(f)["cases"]
        for case in cases[::25]:
            self.assertEqual(self.ids(stdin=bytes(case["bytes"])),
                             [1] + case["ids"], case)

    def test_takes_text_from_arguments_and_input(self):
        self.assertEqual(self.ids("a block"), self.ids(stdin=b"a block"))
        self.assertEqual(self.ids("a block"), self.ids("-", stdin=b"a block"))
        self.assertEqual(self.ids("--", "--ids"), self.ids(stdin=b"--ids"))
        self.assertEqual(self.ids(""), [1])

    def test_parses_special_tokens(self):
        shown = self.folio("tokenize", "<|user|>\nhi<|end|>")
        self.assertIn('"<|user|>"', shown)
        self.assertIn('"<|end|>"', shown)

    def test_shows_a_line_a_token(self):
        shown = self.folio("tokenize", "-m", MODEL, 'a "b"\n\x1b')
        lines = shown.splitlines()
        self.assertEqual(lines[0].split(), ["id", "piece"])
        self.assertEqual([int(line.split()[0]) for line in lines[1:]],
                         self.ids('a "b"\n\x1b'))
        self.assertNotIn("\x1b", shown)

    def test_refuses_models_and_calls(self):
        self.folio("tokenize", "-m", "/none", "a", code=1)
        message = self.folio("tokenize", "-m", self.file(phi3_mini()), "a",
                             code=1)
        self.assertIn("tokenizer.ggml.model", message)
        self.folio("tokenize", "a", "b", code=2)
        self.folio("tokenize", "--no", code=2)


if __name__ == "__main__":
    unittest.main()
