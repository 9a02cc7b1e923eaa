"""What is told about memory: `folio report memory`, and --events.

Both must tell what is so: held bytes are those of whole blocks, nothing is
held or handed out after an unload, and a refusal names both numbers.
"""

import json
import os
import re
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as xml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLIO = os.path.join(ROOT, os.environ.get("FOLIO_BUILD", "build"), "folio")
MODEL = os.path.join(ROOT, "golden", "folio-tiny.gguf")
SVG = "{http://www.w3.org/2000/svg}"


class Told(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="folio-told-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def folio(self, *arguments, code=0):
        done = subprocess.run(
            [FOLIO, *arguments], capture_output=True, text=True, timeout=300,
            cwd=ROOT, env=dict(os.environ, OMP_NUM_THREADS="2"))
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def report(self, *flags):
        """The tables of the report, as rows of numbers, and its text."""
        folder = os.path.join(self.folder, "report")
        self.folio("report", "memory", "-o", folder, *flags)
        self.assertEqual(sorted(os.listdir(folder)),
                         ["memory.md", "memory.svg"])
        with open(os.path.join(folder, "memory.md"), encoding="utf-8") as f:
            text = f.read()
        tables = []
        for part in text.split("\n## ")[1:]:
            rows = re.findall(r"^\| ([0-9].*) \|$", part, re.M)
            tables.append([[float(n.replace(",", "")) for n in r.split(" | ")]
                           for r in rows])
        return tables, text, os.path.join(folder, "memory.svg")

    # ---- the report ------------------------------------------------------

    def test_d9_report_at_the_contexts_asked_for(self):
        for device, last in ("cpu", 512), ("sim", 48):
            contexts = [0, last // 5, last // 2, last]
            (cache, session), text, _ = self.report(
                "--like", "tiny", "--contexts",
                ",".join(map(str, contexts)), "-d", device)
            token = 2 * 2 * 2 * 16 * 2
            self.assertEqual([row[0] for row in cache], contexts)
            for tokens, blocks, held, committed, own, _ in cache:
                self.assertEqual(blocks, -(-tokens // 16))
                self.assertEqual(held, blocks * 16 * token)
                self.assertGreaterEqual(committed, held)
                self.assertGreaterEqual(own, committed)
            self.assertIn("%.1f bytes a token at %d" % (token, last), text)
            # The session has one layer and a window of 127 tokens.
            for tokens, blocks, held, _, own, _ in session:
                self.assertEqual(held, blocks * 16 * token / 2)
                self.assertEqual(own, session[0][4])
            self.assertEqual(session[1][1], -(-contexts[1] // 16))
            self.assertLessEqual(session[3][1], 9)

    def test_d9_plan_and_device_agree_in_the_report(self):
        for device, copies in (("cpu", False), ("sim", True)):
            _, text, _ = self.report("--model", MODEL, "-d", device,
                                     "--contexts", "16")
            told = re.search(
                r"weights of ([0-9,]+) bytes, and ([0-9,]+) bytes besides them"
                r"\. Handed out by the device after it: ([0-9,]+) bytes", text)
            weights, rest, own = (int(n.replace(",", ""))
                                  for n in told.groups())
            self.assertEqual(own, rest + (weights if copies else 0))

    def test_d9_usual_contexts_end_at_the_models_own(self):
        (cache,), _, _ = self.report("--model", MODEL, "--no-session")
        self.assertEqual([row[0] for row in cache], [0, 1000, 1024])

    def test_d9_resident_set_follows_the_cache(self):
        (cache,), _, _ = self.report("--like", "phi3-mini", "--layers", "2",
                                     "--no-session", "--kv-type", "f32")
        self.assertEqual([row[0] for row in cache], [0, 1000, 2048, 4096])
        for tokens, _, held, _, _, resident in cache:
            self.assertEqual(held, -(-tokens // 16) * 16 * 2 * 24576)
            self.assertLess(abs(resident - held / 2**20), 8)

    def test_d9_plot_shows_what_was_measured(self):
        (cache, _), _, path = self.report("--like", "tiny")
        root = xml.parse(path).getroot()
        words = [t.text for t in root.iter(SVG + "text")]
        self.assertIn("tokens", words)
        self.assertTrue(any("one layer" in w for w in words), words)
        lines = [p for p in root.iter(SVG + "path")
                 if p.get("class").startswith("line")]
        self.assertEqual(len(lines), 4)
        held = [tuple(map(float, p.split()))
                for p in re.split("[ML]", lines[1].get("d"))[1:]]
        self.assertEqual(len(held), 512 // 64 + 1)
        x, y = zip(*held)
        self.assertEqual(list(x), sorted(x))
        # Twice the tokens, twice the height, to a tenth of a pixel.
        self.assertAlmostEqual(2 * (y[0] - y[4]), y[0] - y[8], delta=0.3)
        self.assertGreater(y[0] - y[8], 100)

    def test_mistakes_are_told(self):
        for flags in ([], ["disk"], ["memory", "--like", "phi4"],
                      ["memory", "--contexts", "0"],
                      ["memory", "--contexts", "5,5"],
                      ["memory", "--contexts", "5,x"]):
            self.folio("report", *flags, code=2)
        done = self.folio("report", "memory", "--like", "tiny", "--contexts",
                          "513", "-o", self.folder, code=1)
        self.assertIn("513", done.stderr)
        done = self.folio("report", "memory", "--like", "tiny", "-o",
                          "/nowhere/at/all", code=1)
        self.assertIn("cannot make", done.stderr)

    # ---- events ----------------------------------------------------------

    def events(self, *flags, code=0):
        path = os.path.join(self.folder, "events")
        self.folio("run", "-n", "4", "--events", path, *flags, code=code)
        with open(path, encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def test_d9_usage_is_told_at_load_prefill_and_unload(self):
        for device in "cpu", "sim":
            events = self.events("-d", device, "-p", "A block table",
                                 "--kv-type", "f16")
            named = {e["event"]: e for e in events}
            self.assertEqual(events[0]["event"], "memory_loaded")
            self.assertEqual(events[-1]["event"], "memory_unloaded")
            loaded, filled = named["memory_loaded"], named["memory_prefilled"]
            self.assertEqual(loaded["held"], 0)
            self.assertEqual(filled["held"],
                             -(-filled["tokens"] // 16) * 16 * 1536)
            for event in events:
                self.assertEqual(event["level"], "info")
                self.assertGreater(event["resident"], 1 << 20)
                self.assertGreaterEqual(event["own"], event["committed"])
            self.assertEqual(named["memory_unloaded"]["own"], 0)
            self.assertEqual(named["memory_unloaded"]["held"], 0)

    def test_d9_a_refusal_is_told(self):
        event, = self.events("--memory", "1M", code=1)
        self.assertEqual((event["level"], event["event"]),
                         ("warning", "refused"))
        self.assertEqual(event["available"], 1 << 20)
        self.assertGreater(event["required"], event["available"])

    def test_events_that_cannot_be_written_are_refused(self):
        self.folio("run", "--events", "/nowhere/events", code=1)


if __name__ == "__main__":
    unittest.main()
