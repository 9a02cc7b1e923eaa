"""folio batch, as a person or a script meets it."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("FOLIO_BUILD", "build"))
FOLIO = os.path.join(BUILD, "folio")
PROMPTS = ["A block table", "Once upon a time", "The engine", "A sequence",
           "What is lost"]


class Batch(unittest.TestCase):
    def folio(self, *arguments, text="\n".join(PROMPTS), code=0):
        done = subprocess.run([FOLIO, *arguments], cwd=ROOT, input=text,
                              text=True, capture_output=True, timeout=120)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout, done.stderr

    def answers(self, *arguments, **more):
        output, _ = self.folio("batch", "--jsonl", "-n", "12", *arguments,
                               **more)
        answers = [json.loads(line) for line in output.splitlines()]
        return {one["line"]: one for one in answers}

    def alone(self, prompt, seed):
        """What folio run says, without the prompt that it repeats."""
        output, _ = self.folio("run", "-p", prompt, "-n", "12", "--seed",
                               str(seed))
        return output[len(prompt):].rstrip("\n")

    def test_d8_answers_as_if_each_were_alone(self):
        want = {i + 1: self.alone(prompt, i + 1)
                for i, prompt in enumerate(PROMPTS)}
        for flags in ([], ["--max-tokens", "4", "--sequences", "4"],
                      ["--sequences", "1"], ["--no-sharing"],
                      ["--blocks", "5", "--block-size", "8"]):
            got = {n: one["text"] for n, one in self.answers(*flags).items()}
            self.assertEqual(got, want, flags)

    def test_reads_a_file_and_skips_empty_lines(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "prompts.txt")
            path.write_text("A block\n\nThe pool\n")
            output, message = self.folio("batch", "-n", "4", str(path), text="")
            lines = sorted(output.splitlines())
            self.assertEqual([line[:4] for line in lines], ['1: "', '3: "'])
            self.assertIn("answers           2 of 2", message)
            missing = str(pathlib.Path(folder, "none"))
            _, message = self.folio("batch", missing, code=1)
            self.assertIn("none: No such file", message)

    def test_tells_what_can_never_be_answered_and_answers_the_rest(self):
        got = self.answers("--block-size", "16", "--blocks", "2",
                           text="A block " * 30 + "\nThe pool\n", code=1)
        self.assertEqual(got[1]["finish"], "refused")
        self.assertGreater(got[1]["required"], got[1]["available"])
        self.assertEqual(got[1]["available"], 2)
        self.assertEqual(got[2]["tokens"], 12)
        output, message = self.folio("batch", "--blocks", "2", "-n", "4",
                                     text="A block " * 30 + "\nThe pool\n",
                                     code=1)
        self.assertIn("folio: line 1: a prompt of", message)
        self.assertEqual(output[:3], "2: ")

    def test_d9_writes_events(self):
        with tempfile.TemporaryDirectory() as folder:
            events = pathlib.Path(folder, "events.jsonl")
            self.answers("--blocks", "5", "--block-size", "8", "--events",
                         str(events))
            told = [json.loads(line)["event"]
                    for line in events.read_text().splitlines()]
            self.assertIn("preempted", told)

    def test_d3_refuses_a_load_beyond_the_limit(self):
        _, message = self.folio("batch", "--memory", "1M", code=1)
        self.assertIn("are available", message)

    def test_nothing_to_answer(self):
        self.assertEqual(self.folio("batch", text="")[0], "")
        self.folio("batch", "-n", "0", code=2)
        self.folio("batch", "one", "two", code=2)


if __name__ == "__main__":
    unittest.main()
