"""`folio logits` against scripts/reference.py, over models and lengths.

Small random-weight models are written to build/test-models. For each, the
float64 reference computes the logits of 600 tokens once; a causal model's first
37 rows are the logits of the first 37 tokens. Each row printed is one run of
the command with its worst absolute difference. The reference uses the
dequantised weights, as the command does, so that one tolerance serves all
types. Keys and values are kept in f32 here.
"""

import concurrent.futures
import os
import subprocess
import sys
import unittest

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "scripts"))
import make_model  # noqa: E402
import reference  # noqa: E402

BUILD = os.path.join(ROOT, os.environ.get("FOLIO_BUILD", "build"))
FOLIO = os.path.join(BUILD, "folio")
MODELS = os.path.join(BUILD, "test-models")

TOLERANCE = 1e-3  # to the reference
CHUNK_TOLERANCE = 1e-4  # between ways of prefilling
LENGTHS = (1, 37, 600)
CHUNKS = (1, 7, 64)
TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0")

# name -> (options of make_model.py, configured context)
LONGROPE = "--longrope 640 --context 2048"
CASES = {
    "phi3 MHA": ("--hidden 128 --heads 4", 1024),
    "phi3 GQA": ("--hidden 384 --heads 4 --kv-heads 2", 1024),
    "phi3 MQA partial rope tied": (
        "--hidden 256 --heads 4 --kv-heads 1 --rope-dim 48 --tied", 1024),
    "phi3 window": ("--hidden 128 --heads 4 --window 100", 1024),
    "phi3 longrope short": ("--hidden 128 --heads 4 " + LONGROPE, 640),
    "phi3 longrope long": ("--hidden 128 --heads 4 " + LONGROPE, 641),
    "phi3 longrope factor given": (
        "--hidden 128 --heads 4 --attn-factor 1.3 " + LONGROPE, 1024),
    "phi3 GQA window longrope": (
        "--hidden 320 --heads 4 --kv-heads 2 --window 255 " + LONGROPE, 1024),
    "llama MHA": ("--arch llama --hidden 128 --heads 4", 1024),
    "llama GQA tied": (
        "--arch llama --hidden 192 --heads 6 --kv-heads 2 --tied "
        "--freq-base 500000", 1024),
}


def tokens_of(length, vocabulary=507):
    draw = np.random.default_rng(7).integers(0, vocabulary, max(LENGTHS))
    return [int(t) for t in draw[:length]]


def model_path(name, kind):
    return os.path.join(MODELS, "%s-%s.gguf" % (name.replace(" ", "-"), kind))


def folio_logits(model, tokens, context, label, chunk=None):
    """Logits (T, V) by the command, which runs on one core."""
    stem = os.path.join(MODELS, "%s-%d-%s" % (
        os.path.basename(model), len(tokens), label))
    with open(stem + ".ids", "w", encoding="ascii") as f:
        f.write(",".join(map(str, tokens)))
    command = [FOLIO, "logits", "-m", model, "--tokens-file", stem + ".ids",
               "--ctx", str(context), "--kv-type", "f32",
               "-o", stem + ".safetensors"]
    if chunk:
        command += ["--chunk", str(chunk)]
    done = subprocess.run(command, capture_output=True, text=True,
                          env=dict(os.environ, OMP_NUM_THREADS="1"))
    if done.returncode:
        raise AssertionError("%s: exit status %d\n%s" % (
            " ".join(command), done.returncode, done.stderr))
    logits = reference.read_safetensors(stem + ".safetensors", "logits")
    os.remove(stem + ".ids")
    os.remove(stem + ".safetensors")
    return logits


class Logits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not os.path.exists(FOLIO):
            raise AssertionError(FOLIO + " is missing: run make first")
        cls.pool = concurrent.futures.ThreadPoolExecutor(2)
        cls.addClassCleanup(cls.pool.shutdown)
        for name, (options, _) in CASES.items():
            for kind in TYPES:
                make_model.main(options.split() + [
                    "--type", kind, "-o", model_path(name, kind)])

    def judge(self, label, got, want, tolerance):
        worst, index = reference.worst_difference(got, want)
        print("%-44s %4d tokens  worst %.2e" % (label, len(got), worst))
        with self.subTest(label, tokens=len(got)):
            self.assertTrue(
                reference.agrees(worst, tolerance),
                "%s, %d tokens: worst absolute difference %g at (token, id) "
                "%s: %r, not %r" % (label, len(got), worst, index,
                                    got[index], want[index]))

    def test_against_the_reference(self):
        jobs = {}
        for name, (_, context) in CASES.items():
            for kind in TYPES:
                for length in LENGTHS:
                    jobs[name, kind, length] = self.pool.submit(
                        folio_logits, model_path(name, kind),
                        tokens_of(length), context, "whole")
        print()
        for name, (_, context) in CASES.items():
            for kind in TYPES:
                model = reference.Reference(model_path(name, kind), context)
                want = model.logits(tokens_of(max(LENGTHS)))
                for length in LENGTHS:
                    self.judge("%s %s" % (name, kind),
                               jobs[name, kind, length].result(),
                               want[:length], TOLERANCE)

    def test_ways_of_prefilling(self):
        """In one, in chunks, and token by token: the same logits."""
        tokens = tokens_of(max(LENGTHS))
        jobs = {}
        for name, (_, context) in CASES.items():
            for chunk in CHUNKS + (len(tokens),):
                jobs[name, chunk] = self.pool.submit(
                    folio_logits, model_path(name, "f32"), tokens, context,
                    "chunk%d" % chunk, chunk)
        print()
        for name in CASES:
            whole = jobs[name, len(tokens)].result()
            for chunk in CHUNKS:
                self.judge("%s, chunks of %d" % (name, chunk),
                           jobs[name, chunk].result(), whole, CHUNK_TOLERANCE)

    def test_the_bundled_model(self):
        path = os.path.join(ROOT, "golden/folio-tiny.gguf")
        tokens = [1] + tokens_of(599, 1000)
        print()
        self.judge("folio-tiny", folio_logits(path, tokens, 1024, "tiny"),
                   reference.Reference(path, 1024).logits(tokens), TOLERANCE)

    def test_a_planted_fault_is_found(self):
        name = "phi3 GQA window longrope"
        path, context = model_path(name, "f32"), CASES[name][1]
        tokens = tokens_of(600)
        got = folio_logits(path, tokens, context, "fault")
        for fault in ({"window": 254}, {"neox": False}, {"context": 640}):
            wrong = reference.Reference(path, context)
            vars(wrong).update(fault)
            worst, _ = reference.worst_difference(got, wrong.logits(tokens))
            self.assertFalse(reference.agrees(worst, 100 * TOLERANCE), fault)


if __name__ == "__main__":
    unittest.main()
