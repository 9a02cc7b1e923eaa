"""`folio make-model`: files of known shapes, judged by a reader of our own.

The shapes are those of the models they are named after; the numbers are read
with scripts/gguf_file.py, which shares nothing with the program, and logits are
compared with the float64 forward pass of scripts/reference.py.
"""

import os
import subprocess
import sys
import tempfile
import unittest

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "scripts"))
import gguf_file  # noqa: E402
import reference  # noqa: E402

BUILD = os.path.join(ROOT, os.environ.get("FOLIO_BUILD", "build"))
FOLIO = os.path.join(BUILD, "folio")
TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0")


class Made(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="folio-made-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def folio(self, *arguments, code=0, threads=2, **more):
        done = subprocess.run(
            [FOLIO, *arguments], capture_output=True, text=True,
            errors="replace", timeout=300,
            env=dict(os.environ, OMP_NUM_THREADS=str(threads)), **more)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def make(self, *flags, name="m.gguf", **more):
        path = os.path.join(self.folder, name)
        self.folio("make-model", *flags, "-q", path, **more)
        return path

    # ---- shapes ----------------------------------------------------------

    def test_phi3_mini_has_its_true_shape(self):
        model = gguf_file.read(self.make("--like", "phi3-mini", "--zeros"))
        m = model.metadata
        self.assertEqual(m["general.architecture"], "phi3")
        wanted = {"context_length": 4096, "embedding_length": 3072,
                  "feed_forward_length": 8192, "block_count": 32,
                  "attention.head_count": 32, "attention.head_count_kv": 32,
                  "rope.dimension_count": 96,
                  "attention.sliding_window": 2047}
        for key, value in wanted.items():
            self.assertEqual(m["phi3." + key], value, key)
        self.assertAlmostEqual(
            m["phi3.attention.layer_norm_rms_epsilon"], 1e-5)
        tensors = model.tensors
        self.assertEqual(len(tensors), 195)
        shapes = {"attn_norm": (3072,), "attn_qkv": (9216, 3072),
                  "attn_output": (3072, 3072), "ffn_norm": (3072,),
                  "ffn_up": (16384, 3072), "ffn_down": (3072, 8192)}
        for layer in range(32):
            for part, shape in shapes.items():
                name = "blk.%d.%s.weight" % (layer, part)
                self.assertEqual(tensors[name][1], shape, name)
        for name in ("token_embd.weight", "output.weight"):
            self.assertEqual(tensors[name][1], (32064, 3072))
        values = sum(int(np.prod(t[1])) for t in tensors.values())
        self.assertEqual(values, 32 * (113246208 + 2 * 3072) + 3072
                         + 2 * 32064 * 3072)

    def test_special_tokens_stand_where_phi3_has_them(self):
        m = gguf_file.read(self.make("--zeros", "--layers", "1")).metadata
        tokens = m["tokenizer.ggml.tokens"]
        self.assertEqual(len(tokens), 32064)
        self.assertEqual(len(set(tokens)), len(tokens))
        self.assertEqual(m["tokenizer.ggml.bos_token_id"], 1)
        self.assertEqual(m["tokenizer.ggml.eos_token_id"], 32000)
        for index, piece in ((0, "<unk>"), (1, "<s>"), (2, "</s>"),
                             (3, "<0x00>"), (258, "<0xFF>"),
                             (32000, "<|endoftext|>"), (32001, "<|assistant|>"),
                             (32006, "<|system|>"), (32007, "<|end|>"),
                             (32010, "<|user|>")):
            self.assertEqual(tokens[index], piece)
        kinds = m["tokenizer.ggml.token_type"]
        self.assertEqual([kinds[i] for i in (0, 1, 3, 300, 32007, 32063)],
                         [2, 3, 6, 1, 3, 5])

    def test_llama_shapes_have_separate_matrices_and_few_kv_heads(self):
        model = gguf_file.read(self.make("--like", "llama3-8b", "--zeros"))
        self.assertEqual(len(model.tensors), 3 + 9 * 32)
        self.assertEqual(model.tensors["blk.31.attn_k.weight"][1],
                         (1024, 4096))
        self.assertEqual(model.metadata["llama.attention.head_count_kv"], 8)
        self.assertEqual(model.metadata["llama.rope.freq_base"], 500000)
        model = gguf_file.read(self.make("--like", "llama2-7b", "--zeros"))
        self.assertEqual(model.tensors["blk.0.ffn_gate.weight"][1],
                         (11008, 4096))

    def test_zeros_are_a_hole(self):
        path = self.make("--like", "phi3-mini", "--zeros")
        seen = os.stat(path)
        self.assertEqual(seen.st_size, 7643269472)
        self.assertLess(seen.st_blocks * 512, 4 << 20)

    # ---- weights ---------------------------------------------------------

    def test_same_seed_same_bytes_whatever_the_threads(self):
        def content(*flags, **more):
            with open(self.make("--like", "tiny", "-t", "q8_0", *flags,
                                **more), "rb") as f:
                return f.read()
        first = content("--seed", "7", threads=1)
        for threads in (2, 3, 8):
            self.assertEqual(content("--seed", "7", threads=threads), first)
        self.assertNotEqual(content("--seed", "8"), first)

    def test_weights_are_spread_as_promised(self):
        model = gguf_file.read(self.make("--like", "tiny", "-t", "f32"))
        self.assertAlmostEqual(model["token_embd.weight"].std(), 1, delta=0.02)
        qkv = model["blk.0.attn_qkv.weight"] * np.sqrt(64)
        self.assertAlmostEqual(qkv[:96].std(), np.sqrt(2.5), delta=0.05)
        self.assertAlmostEqual(qkv[96:].std(), 1, delta=0.05)
        norm = model["output_norm.weight"]
        self.assertTrue(((norm >= 0.8) & (norm <= 1.2)).all())
        rows = np.round(model["output.weight"], 6)
        self.assertEqual(len(np.unique(rows, axis=0)), len(rows))
        other = model["blk.1.attn_qkv.weight"] * np.sqrt(64)
        self.assertLess(abs(np.corrcoef(qkv.ravel(), other.ravel())[0, 1]),
                        0.05)

    def test_logits_are_those_of_the_reference(self):
        tokens = list(np.random.default_rng(3).integers(0, 512, 200))
        ids = os.path.join(self.folder, "ids")
        with open(ids, "w", encoding="ascii") as f:
            f.write(",".join(map(str, tokens)))
        out = os.path.join(self.folder, "logits")
        cases = [("tiny", kind, []) for kind in TYPES]
        print()
        for shape, kind, flags in cases:
            path = self.make("--like", shape, "-t", kind, *flags)
            self.folio("logits", "-m", path, "--tokens-file", ids, "-o", out)
            got = reference.read_safetensors(out, "logits")
            want = reference.Reference(path, 512).logits(tokens)
            worst, _ = reference.worst_difference(got, want)
            spread = want.std()
            print("%-6s %-5s worst %.2e, logits spread by %.2f"
                  % (shape, kind, worst, spread))
            self.assertTrue(reference.agrees(worst, 1e-3), (kind, worst))
            self.assertTrue(1 < spread < 4, spread)
            wrong = reference.Reference(path, 512)
            wrong.window = 126
            self.assertFalse(reference.agrees(reference.worst_difference(
                got, wrong.logits(tokens))[0], 1e-3))

    # ---- the command -----------------------------------------------------

    def test_a_made_model_says_something(self):
        path = self.make("--like", "tiny", "--seed", "2")
        done = self.folio("run", "-m", path, "-p", "tana", "-n", "20")
        self.assertGreater(len(done.stdout), len("tana\n"))
        done = self.folio("run", "-m", path, "--chat", "-p", "x", "-n", "5")
        self.assertIn("decode", done.stderr)

    def test_a_full_disk_is_told_and_nothing_stays(self):
        path = os.path.join(self.folder, "m.gguf")
        command = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""
        done = subprocess.run(
            ["bash", "-c", command, FOLIO, "make-model", "--layers", "1",
             path], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, r"^folio: cannot make room for .*m\.gguf"
                         ": File too large\n$")
        self.assertEqual(os.listdir(self.folder), [])

    def test_mistakes_are_told(self):
        for flags, words in ((["--like", "phi4"], "no shape 'phi4'"),
                             (["--layers", "0"], "--layers"),
                             (["-t", "q4_K"], "--type"),
                             (["--vocabulary", "10"], "--vocabulary"),
                             (["--feed-forward", "33"], "no multiple of 32")):
            done = self.folio("make-model", *flags, "/tmp/never.gguf", code=2)
            self.assertIn(words, done.stderr)
        self.assertIn("which file", self.folio("make-model", code=2).stderr)


if __name__ == "__main__":
    unittest.main()
