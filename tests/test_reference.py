"""scripts/gguf_file.py and scripts/reference.py, checked against plain ideas.

The reference judges the engine, so it is judged here first: quantisers value
by value, RoPE against rotation of complex numbers, the window and longrope
against their definitions. Then faults are planted in it one by one, and
each must move the logits by far more than the tolerance, or the comparison
of test_logits.py could not find that fault in the engine.
"""

import contextlib
import io
import math
import os
import sys
import tempfile
import unittest

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "scripts"))
import gguf_file  # noqa: E402
import make_model  # noqa: E402
import reference  # noqa: E402

TOLERANCE = 1e-3


def contents(path):
    with open(path, "rb") as f:
        return f.read()


class WithFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def model(self, *options):
        path = self.path("m%d.gguf" % len(os.listdir(self.folder)))
        make_model.main(list(options) + ["-o", path])
        return path


class Storage(WithFolder):
    def test_bf16_rounds_to_nearest_even(self):
        one = 2.0 ** -7  # the step of bfloat16 between 1 and 2
        for value, want in ((1 + one / 2, 1), (1 + 1.5 * one, 1 + 2 * one),
                            (1 + 0.51 * one, 1 + one), (-1 - one, -1 - one),
                            (math.inf, math.inf), (0.0, 0.0)):
            self.assertEqual(float(gguf_file.rounded([value], "bf16")[0]), want)
        self.assertTrue(np.isnan(gguf_file.rounded([math.nan], "bf16")[0]))

    def test_q8_0_block_by_hand(self):
        x = np.zeros(32, np.float32)
        x[0], x[1], x[31] = 127.0, -2.5, 63.4
        raw = gguf_file.encode(x, "q8_0")
        self.assertEqual(len(raw), 34)
        self.assertEqual(raw[:2], np.float16(1).tobytes())
        values = np.frombuffer(raw[2:], np.int8)
        self.assertEqual([values[0], values[1], values[31]], [127, -3, 63])
        self.assertFalse(gguf_file.rounded(np.zeros(32), "q8_0").any())

    def test_q4_0_block_by_hand(self):
        x = np.zeros(32, np.float32)
        x[0], x[1], x[16] = -8.0, 3.0, 7.0
        raw = gguf_file.encode(x, "q4_0")
        self.assertEqual(len(raw), 18)
        self.assertEqual(raw[:2], np.float16(1).tobytes())
        # Value 0 in the low nibble and value 16 in the high one, each plus 8.
        self.assertEqual(raw[2], 0 | 15 << 4)
        self.assertEqual(raw[3], 11 | 8 << 4)
        np.testing.assert_array_equal(gguf_file.rounded(x, "q4_0"), x)

    def test_quantisers_stay_within_their_step(self):
        x = np.random.default_rng(1).standard_normal((40, 64))
        x = x.astype(np.float32)
        blocks = np.abs(x).reshape(-1, 32).max(axis=1, keepdims=True)
        for kind, step in (("q8_0", 1 / 127), ("q4_0", 1 / 8)):
            error = np.abs(gguf_file.rounded(x, kind) - x).reshape(-1, 32)
            # Half a step, or a whole one where q4_0 cuts at +7, and the
            # rounding of the scale to f16 besides.
            limit = (0.5 if kind == "q8_0" else 1.0) * step * 1.01 + 2e-3
            self.assertTrue((error <= limit * blocks).all())
            self.assertGreater(error.max(), 0.3 * step * blocks.min())

    def test_file_gives_back_what_was_written(self):
        rng = np.random.default_rng(2)
        array = rng.standard_normal((3, 64)).astype(np.float32)
        metadata = {
            "general.architecture": ("string", "phi3"),
            "a.u8": ("uint8", 255), "a.i8": ("int8", -128),
            "a.u16": ("uint16", 65535), "a.i16": ("int16", -5),
            "a.i32": ("int32", -7), "a.u64": ("uint64", 2 ** 63),
            "a.i64": ("int64", -2 ** 62), "a.f64": ("float64", 0.1),
            "a.f32": ("float32", 0.5), "a.true": ("bool", True),
            "a.words": ("[string]", ["", "\u2581x", "<0x0A>"]),
            "a.scores": ("[float32]", [0.5, -2.0]),
            "a.none": ("[int32]", []),
        }
        for alignment in (8, 32, 256):
            metadata["general.alignment"] = ("uint32", alignment)
            tensors = {"t." + kind: (array, kind) for kind in gguf_file.TYPES}
            path = self.path("file.gguf")
            gguf_file.write(path, metadata, tensors)
            got = gguf_file.read(path)
            self.assertEqual(got.metadata,
                             {k: v for k, (_, v) in metadata.items()})
            for kind in gguf_file.TYPES:
                np.testing.assert_array_equal(
                    got["t." + kind], gguf_file.rounded(array, kind))
            np.testing.assert_array_equal(got["t.f32"], array)

    def test_truncated_file_is_refused(self):
        data = contents(self.model("--layers", "1", "--vocab", "400"))
        cut = self.path("cut.gguf")
        for size in (0, 3, 20, 1000, len(data) // 2):
            with open(cut, "wb") as f:
                f.write(data[:size])
            with self.assertRaises((gguf_file.FormatError, ValueError)):
                model = gguf_file.read(cut)
                [model[name] for name in model.tensors]

    def test_same_seed_same_bytes(self):
        options = ["--type", "q4_0", "--layers", "1"]
        one, two, other = (self.model(*options, "--seed", seed)
                           for seed in ("5", "5", "6"))
        self.assertEqual(contents(one), contents(two))
        self.assertNotEqual(contents(one), contents(other))


class Vocabulary(unittest.TestCase):
    def test_every_piece_can_be_reached_by_merges(self):
        for arch, size in (("phi3", 300), ("phi3", 400), ("llama", 512),
                           ("phi3", 32064)):
            tokens, scores, types = make_model.vocabulary(arch, size)
            self.assertEqual(len(tokens), size)
            self.assertEqual(len(set(tokens)), size)
            self.assertEqual((len(scores), len(types)), (size, size))
            normal = {t for t, k in zip(tokens, types)
                      if k == make_model.NORMAL}
            for piece in normal:
                self.assertTrue(len(piece) == 1 or any(
                    piece[:i] in normal and piece[i:] in normal
                    for i in range(1, len(piece))), piece)


class Parts(WithFolder):
    def test_rope_is_complex_rotation(self):
        for arch, rope_dim in (("phi3", 32), ("phi3", 20), ("llama", 32),
                               ("llama", 20)):
            model = reference.Reference(self.model(
                "--arch", arch, "--rope-dim", str(rope_dim), "--layers", "1"))
            x = np.random.default_rng(3).standard_normal((50, 2, 32))
            got = model.rotate(x)
            half = rope_dim // 2
            for i in range(half):
                a, b = (i, i + half) if arch == "phi3" else (2 * i, 2 * i + 1)
                angle = np.arange(50) * 10000.0 ** (-i / half)
                want = ((x[..., a] + 1j * x[..., b])
                        * np.exp(1j * angle)[:, None])
                np.testing.assert_allclose(got[..., a], want.real, atol=1e-12)
                np.testing.assert_allclose(got[..., b], want.imag, atol=1e-12)
            np.testing.assert_array_equal(got[..., rope_dim:],
                                          x[..., rope_dim:])

    def test_window_rows_by_hand(self):
        model = reference.Reference(self.model("--window", "3"))
        want = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0],
                [0, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
        np.testing.assert_array_equal(model.visible(5), np.array(want, bool))
        model.window = 0
        np.testing.assert_array_equal(model.visible(5), np.tri(5, dtype=bool))

    def test_longrope_formula_and_choice(self):
        path = self.model("--longrope", "512", "--context", "2048")
        factor = math.sqrt(1 + math.log(4) / math.log(512))
        for context, kind in ((512, "short"), (513, "long"), (None, "long"),
                              (100, "short")):
            divisors, got = reference.Reference(path, context).rope_factors()
            want = gguf_file.read(path)["rope_factors_%s.weight" % kind]
            np.testing.assert_array_equal(divisors, want)
            self.assertAlmostEqual(got, factor, places=12)
        path = self.model("--longrope", "512", "--attn-factor", "1.25")
        self.assertEqual(reference.Reference(path).rope_factors()[1], 1.25)
        path = self.model("--longrope", "512", "--context", "512")
        self.assertEqual(reference.Reference(path).rope_factors()[1], 1.0)

    def test_longrope_at_one_angle(self):
        model = reference.Reference(self.model("--longrope", "512"))
        divisors, factor = model.rope_factors()
        x = np.zeros((8, 1, 32))
        x[:, 0, 3] = 1.0
        got = model.rotate(x)[7, 0]
        angle = 7 * 10000.0 ** (-3 / 16) / divisors[3]
        self.assertAlmostEqual(got[3], factor * math.cos(angle), places=12)
        self.assertAlmostEqual(got[19], factor * math.sin(angle), places=12)

    def test_fused_tensors_equal_the_separate_ones(self):
        fused = reference.Reference(self.model("--kv-heads", "2"))
        apart = reference.Reference(self.model("--kv-heads", "2"))
        apart.arch, apart.neox = "llama", True
        for i in range(apart.layers):
            b = "blk.%d." % i
            qkv, up = apart.weight(b + "attn_qkv"), apart.weight(b + "ffn_up")
            for part, start, end in (("q", 0, 128), ("k", 128, 192),
                                     ("v", 192, 256)):
                apart.cache[b + "attn_" + part] = qkv[start:end]
            apart.cache[b + "ffn_gate"], apart.cache[b + "ffn_up"] = (
                up[:256], up[256:])
        tokens = list(range(1, 60))
        np.testing.assert_allclose(apart.logits(tokens), fused.logits(tokens),
                                   atol=1e-9)

    def test_causal_and_tied(self):
        model = reference.Reference(self.model("--tied", "--window", "16"))
        self.assertNotIn("output.weight", model.file)
        tokens = [7 * i % 500 for i in range(60)]
        whole = model.logits(tokens)
        np.testing.assert_allclose(whole[:37], model.logits(tokens[:37]),
                                   atol=1e-9)


class Faults(WithFolder):
    """Each planted fault is a mistake that an engine could really make."""

    TOKENS = [(11 * i + i * i) % 507 for i in range(200)]

    def moved(self, fault, *options, context=None):
        """How far the logits move when `fault` is planted."""
        path = self.model(*options)
        right = reference.Reference(path, context).logits(self.TOKENS)
        wrong = reference.Reference(path, context)
        fault(wrong)
        worst, _ = reference.worst_difference(wrong.logits(self.TOKENS), right)
        return worst

    def check(self, fault, *options, **more):
        self.assertGreater(self.moved(fault, *options, **more),
                           100 * TOLERANCE)

    def test_no_fault_moves_nothing(self):
        self.assertEqual(self.moved(lambda m: None, "--window", "64"), 0)

    def test_window_off_by_one(self):
        for window in (63, 65, 0):
            self.check(lambda m: setattr(m, "window", window),
                       "--window", "64")

    def test_other_rope_pairing(self):
        for arch in ("phi3", "llama"):
            self.check(lambda m: setattr(m, "neox", not m.neox),
                       "--arch", arch)

    def test_rope_over_the_whole_head(self):
        self.check(lambda m: setattr(m, "rope_dim", 32), "--rope-dim", "24")

    def test_kv_heads_by_remainder(self):
        self.check(lambda m: setattr(m, "kv_head", lambda h: h % m.kv_heads),
                   "--kv-heads", "2")

    def test_long_for_short_factors(self):
        options = ["--longrope", "512"]
        self.check(lambda m: setattr(m, "context", 4096), *options,
                   context=512)
        self.check(lambda m: setattr(m, "attn_factor", 1.0), *options)

    def test_up_before_gate(self):
        def swap(model):
            right = model.split_gate
            model.split_gate = lambda x, block: right(x, block)[::-1]
        self.check(swap)

    def test_keys_and_values_swapped(self):
        def swap(model):
            right = model.split_qkv

            def wrong(x, block):
                q, k, v = right(x, block)
                return q, v, k
            model.split_qkv = wrong
        self.check(swap)

    def test_forgotten_output_norm(self):
        def forget(model):
            model.cache["output_norm"] = np.ones(model.hidden)
        self.check(forget)

    def test_weights_of_another_type(self):
        path = self.model("--type", "q8_0")
        right = reference.Reference(path).logits(self.TOKENS)
        other = reference.Reference(self.model("--type", "q4_0"))
        worst, _ = reference.worst_difference(other.logits(self.TOKENS), right)
        self.assertGreater(worst, 100 * TOLERANCE)


class Comparing(WithFolder):
    def run_main(self, *arguments):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            status = reference.main(list(arguments))
        return status, out.getvalue()

    def test_command_writes_and_compares(self):
        model, out = self.model(), self.path("out.safetensors")
        self.assertEqual(self.run_main("-m", model, "--tokens", "1,2,3",
                                       "-o", out)[0], 0)
        want = reference.Reference(model).logits([1, 2, 3])
        got = reference.read_safetensors(out, "logits")
        np.testing.assert_allclose(got, want, atol=1e-5)
        ids = self.path("ids.txt")
        with open(ids, "w") as f:
            f.write("1 2\n3\n")
        self.assertEqual(self.run_main("-m", model, "--tokens-file", ids,
                                       "--compare", out)[0], 0)
        self.assertEqual(self.run_main("-m", model, "--tokens", "1,2,4",
                                       "--compare", out)[0], 1)
        for fault in (math.nan, math.inf, 0.01):
            wrong = got.copy()
            wrong[1, 5] += fault
            reference.write_safetensors(out, "logits", wrong)
            status, text = self.run_main("-m", model, "--tokens", "1,2,3",
                                         "--compare", out)
            self.assertEqual(status, 1)
            self.assertIn("(1, 5)", text)

    def test_shapes_and_emptiness(self):
        with self.assertRaises(ValueError):
            reference.worst_difference(np.zeros((2, 3)), np.zeros((3, 2)))
        with self.assertRaises(ValueError):
            reference.worst_difference(np.zeros((0, 3)), np.zeros((0, 3)))


if __name__ == "__main__":
    unittest.main()
