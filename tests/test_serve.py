"""`folio serve` as its clients meet it: real sockets, curl, recorded requests.

Each test starts a server of its own on a free port, and never waits for a true
timeout: the short ones below are of tenths of a second.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("FOLIO_BUILD", "build"))
FOLIO = os.path.join(BUILD, "folio")
MODEL = os.path.join(ROOT, "golden", "folio-tiny.gguf")
RECORDED = os.path.join(ROOT, "tests", "openai_requests.json")
GREEDY = " maps logical blocks to physical blocks in the way a page table maps"


class Server:
    def __init__(self, *flags, model=MODEL, environment=None):
        self.process = subprocess.Popen(
            [FOLIO, "serve", "-p", "0", "-m", model, *flags], cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "2", **(environment or {})})
        self.log = []
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()
        line = self.process.stdout.readline().decode()
        self.url = line.split()[-1]
        self.port = int(self.url.rsplit(":", 1)[1])

    def read_log(self):
        for line in self.process.stderr:
            self.log.append(line.decode())

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, body) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port,
                                                timeout=60)
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def json(self, method, path, body=None, headers=None):
        status, _, text = self.ask(method, path, body, headers)
        return status, json.loads(text)

    def complete(self, **body):
        return self.json("POST", "/v1/completions", body)

    def status(self):
        return self.json("GET", "/admin/status")[1]

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.reader.join(5)
        self.process.stdout.close()
        self.process.stderr.close()
        return code


def events(text):
    """The objects of a stream of server-sent events, and its last word."""
    parts = [part for part in text.decode().split("\n\n") if part]
    assert all(part.startswith("data: ") for part in parts), parts
    return [json.loads(part[6:]) for part in parts[:-1]], parts[-1][6:]


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not come about")
        time.sleep(0.01)


class Case(unittest.TestCase):
    def serve(self, *flags, **more):
        server = Server(*flags, **more)

        self.addCleanup(server.stop)
        return server


class Completions(Case):
    def setUp(self):
        self.server = self.serve()

    def test_f1_nothing_is_loaded_before_the_first_request(self):
        status = self.server.status()
        self.assertFalse(status["memory"]["model_loaded"])
        self.assertEqual(status["model"]["loads"], 0)
        self.assertEqual(self.server.json("GET", "/v1/models")[0], 200)
        self.assertEqual(self.server.status()["model"]["loads"], 0)
        self.server.complete(prompt="A", max_tokens=1)
        status = self.server.status()
        self.assertTrue(status["memory"]["model_loaded"])
        self.assertEqual(status["model"]["loads"], 1)

    def test_f2_a_completion(self):
        code, answer = self.server.complete(
            model="folio-tiny", prompt="A block table", max_tokens=20,
            temperature=0)
        self.assertEqual(code, 200)
        self.assertEqual(answer["object"], "text_completion")
        choice = answer["choices"][0]
        self.assertEqual(choice["text"], GREEDY)
        self.assertEqual(choice["finish_reason"], "length")
        self.assertEqual(answer["usage"], {
            "prompt_tokens": 4, "completion_tokens": 20, "total_tokens": 24})

    def test_f2_a_stream_says_what_the_whole_answer_says(self):
        body = {"prompt": "A block table", "max_tokens": 20, "temperature": 0,
                "stream": True, "stream_options": {"include_usage": True}}
        code, headers, text = self.server.ask("POST", "/v1/completions", body)
        self.assertEqual(code, 200)
        self.assertEqual(headers["Content-Type"], "text/event-stream")
        chunks, last = events(text)
        self.assertEqual(last, "[DONE]")
        self.assertEqual("".join(c["choices"][0]["text"]
                                 for c in chunks[:-1]), GREEDY)
        self.assertEqual(chunks[-2]["choices"][0]["finish_reason"], "length")
        self.assertEqual(chunks[-1]["choices"], [])
        self.assertEqual(chunks[-1]["usage"]["completion_tokens"], 20)
        self.assertEqual(len({c["id"] for c in chunks}), 1)

    def test_f2_a_chat_and_its_stream(self):
        body = {"messages": [{"role": "user", "content": "What is a block?"}],
                "max_tokens": 24, "temperature": 0}
        code, whole = self.server.json("POST", "/v1/chat/completions", body)
        self.assertEqual(code, 200)
        self.assertEqual(whole["object"], "chat.completion")
        message = whole["choices"][0]["message"]
        self.assertEqual(message["role"], "assistant")
        text = self.server.ask("POST", "/v1/chat/completions",
                               {**body, "stream": True})[2]
        chunks, _ = events(text)
        self.assertEqual(chunks[0]["choices"][0]["delta"]["role"], "assistant")
        told = "".join(c["choices"][0]["delta"].get("content", "")
                       for c in chunks)
        self.assertEqual(told, message["content"])
        self.assertGreater(len(told), 5)
        asked = subprocess.run(
            [FOLIO, "run", "--chat", "-p", "What is a block?", "-n", "24",
             "--temp", "0"], cwd=ROOT, capture_output=True).stdout.decode()
        self.assertEqual(asked.strip(), told.strip())

    def test_f2_many_at_once_each_as_if_alone(self):
        prompts = [f"A block {word}" for word in
                   "table holds maps is of and in the one two".split()]
        bodies = [{"prompt": p, "max_tokens": 5 + 3 * i, "seed": i,
                   "temperature": (i % 3) / 2} for i, p in enumerate(prompts)]
        alone = [self.server.complete(**b)[1]["choices"] for b in bodies]
        together = [None] * 64

        def ask(i):
            body = dict(bodies[i % len(bodies)])
            if i % 2:
                together[i] = self.server.complete(**body)[1]["choices"]
                return
            text = self.server.ask("POST", "/v1/completions",
                                   {**body, "stream": True})[2]
            chunks = [c["choices"][0] for c in events(text)[0]]
            together[i] = [{**chunks[-1], "text": "".join(
                c["text"] for c in chunks)}]
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i in range(64):
            self.assertEqual(together[i], alone[i % len(bodies)], i)
        status = self.server.status()
        self.assertEqual(status["requests"]["completed"], 74)
        self.assertGreater(status["engine"]["most_running"], 2)

    def test_choices_seeds_and_echo(self):
        body = {"prompt": "The", "max_tokens": 8, "temperature": 1}
        three = self.server.complete(**body, n=3, seed=7)[1]["choices"]
        self.assertEqual([c["index"] for c in three], [0, 1, 2])
        for k in range(3):
            one = self.server.complete(**body, seed=7 + k)[1]["choices"]
            self.assertEqual(one[0]["text"], three[k]["text"])
        self.assertEqual(len({c["text"] for c in three}), 3)
        echo = self.server.complete(**body, seed=7, echo=True)[1]["choices"]
        self.assertEqual(echo[0]["text"], "The" + three[0]["text"])
        unseeded = {self.server.complete(**body)[1]["choices"][0]["text"]
                    for _ in range(4)}
        self.assertGreater(len(unseeded), 1)

    def test_prompts_as_lists_and_as_tokens(self):
        ids = [int(line.split()[0]) for line in subprocess.run(
            [FOLIO, "tokenize", "A block table"], cwd=ROOT,
            capture_output=True).stdout.decode().splitlines()
            if line.split() and line.split()[0].isdigit()]
        body = {"max_tokens": 20, "temperature": 0}
        plain = self.server.complete(prompt="A block table", **body)[1]
        if len(ids) == plain["usage"]["prompt_tokens"]:
            tokens = self.server.complete(prompt=ids, **body)[1]
            self.assertEqual(tokens["choices"], plain["choices"])
        both = self.server.complete(prompt=["A block table", "The"], n=2,
                                    **body)[1]["choices"]
        self.assertEqual([c["index"] for c in both], [0, 1, 2, 3])
        self.assertEqual(both[0]["text"], GREEDY)
        self.assertEqual(both[1]["text"], GREEDY)
        self.assertNotEqual(both[2]["text"], GREEDY)

    def test_a_stop_text_ends_an_answer_before_it(self):
        body = {"prompt": "A block table", "max_tokens": 40, "temperature": 0}
        for stop, told in ((" to phys", " maps logical blocks"),
                           (["zzz", "gical"], " maps lo")):
            answer = self.server.complete(**body, stop=stop)[1]
            choice = answer["choices"][0]
            self.assertEqual(choice["text"], told)
            self.assertEqual(choice["finish_reason"], "stop")
            text = self.server.ask("POST", "/v1/completions",
                                   {**body, "stop": stop, "stream": True})[2]
            self.assertEqual("".join(c["choices"][0]["text"]
                                     for c in events(text)[0]), told)

    def test_logprobs_in_both_shapes(self):
        body = {"prompt": "A block table", "max_tokens": 3, "temperature": 0}
        told = self.server.complete(**body, logprobs=2)[1]["choices"][0]
        logprobs = told["logprobs"]
        self.assertEqual("".join(logprobs["tokens"]), told["text"])
        for own, top in zip(logprobs["token_logprobs"],
                            logprobs["top_logprobs"]):
            self.assertEqual(len(top), 2)
            self.assertEqual(own, max(top.values()))
            self.assertLessEqual(own, 0)
        self.assertEqual(logprobs["text_offset"][0], 0)
        chat = self.server.json("POST", "/v1/chat/completions", {
            "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3,
            "temperature": 0, "logprobs": True, "top_logprobs": 3})[1]
        for token in chat["choices"][0]["logprobs"]["content"]:
            self.assertEqual(len(token["top_logprobs"]), 3)
            self.assertEqual(token["logprob"],
                             token["top_logprobs"][0]["logprob"])

    def test_curl(self):
        if not shutil.which("curl"):
            self.skipTest("there is no curl")
        done = subprocess.run(
            ["curl", "-sS", self.server.url + "/v1/completions",
             "-H", "Content-Type: application/json",
             "-H", "Authorization: Bearer any", "-d",
             '{"model": "folio-tiny", "prompt": "A block table", '
             '"max_tokens": 20, "temperature": 0}'],
            capture_output=True, timeout=60)
        self.assertEqual(done.stderr, b"")
        self.assertEqual(json.loads(done.stdout)["choices"][0]["text"], GREEDY)
        stream = subprocess.run(
            ["curl", "-sSN", self.server.url + "/v1/completions", "-d",
             '{"prompt": "A block table", "max_tokens": 20, '
             '"temperature": 0, "stream": true}'],
            capture_output=True, timeout=60).stdout
        chunks, last = events(stream)
        self.assertEqual(last, "[DONE]")
        self.assertEqual("".join(c["choices"][0]["text"] for c in chunks),
                         GREEDY)

    def test_what_the_openai_client_sends(self):
        """Recorded, headers and all, from openai's own Python client."""
        with open(RECORDED) as file:
            recorded = json.load(file)
        self.assertGreater(len(recorded["requests"]), 3)
        for request in recorded["requests"]:
            code, headers, text = self.server.ask(
                request["method"], request["path"], request["body"],
                request["headers"])
            self.assertEqual(code, 200, (request, text))
            if request["body"] and json.loads(request["body"]).get("stream"):
                self.assertEqual(events(text)[1], "[DONE]")
            else:
                self.assertIn("object", json.loads(text))


class Errors(Case):
    def setUp(self):
        self.server = self.serve("--max-body", "4K", "--queue", "4")

    def refused(self, code, body, path="/v1/completions", method="POST",
                headers=None):
        status, answer = self.server.json(method, path, body, headers)
        self.assertEqual(status, code, answer)
        self.assertEqual(set(answer["error"]),
                         {"message", "type", "param", "code"})
        return answer["error"]

    def test_mistakes_are_told_in_the_usual_shape(self):
        self.assertIn("JSON", self.refused(400, "{")["message"])
        self.refused(400, "")
        self.refused(400, "[]")
        self.refused(400, b"\xff\xfe")
        self.refused(400, '{"prompt": "A", "prompt": "B"}')
        self.assertEqual(self.refused(404, {"model": "other", "prompt": "A"})
                         ["code"], "model_not_found")
        for body in ({}, {"prompt": 3}, {"prompt": []}, {"prompt": [1, "a"]},
                     {"prompt": "A", "max_tokens": "3"},
                     {"prompt": "A", "max_tokens": 0},
                     {"prompt": "A", "temperature": 3},
                     {"prompt": "A", "temperature": True},
                     {"prompt": "A", "top_p": -1}, {"prompt": "A", "n": 0},
                     {"prompt": "A", "stop": [""]},
                     {"prompt": "A", "stream": 1},
                     {"prompt": "A", "logit_bias": {"3": 1}},
                     {"prompt": "A", "colour": "red"},
                     {"prompt": [999999]}, {"prompt": [-1]}):
            error = self.refused(400, body)
            self.assertEqual(error["type"], "invalid_request_error")
        self.assertEqual(self.refused(400, {"prompt": "A", "n": 0})["param"],
                         "n")
        chat = "/v1/chat/completions"
        for messages in (None, [], [3], [{"role": "user"}],
                         [{"role": "tool", "content": "A"}],
                         [{"role": "user", "content": [{"type": "image"}]}]):
            self.refused(400, {"messages": messages}, chat)

    def test_a_prompt_that_is_too_long_is_told_with_numbers(self):
        error = self.refused(400, {"prompt": "A", "max_tokens": 5000})
        self.assertEqual(error["code"], "context_length_exceeded")
        self.assertIn("1024", error["message"])
        self.assertIn("5000", error["message"])

    def test_paths_methods_and_sizes(self):
        self.refused(404, None, "/v2/completions", "GET")
        self.refused(405, None, "/v1/completions", "GET")
        status, headers, _ = self.server.ask("GET", "/v1/completions")
        self.assertEqual(headers["Allow"], "POST")
        self.refused(413, {"prompt": "A" * 5000})
        self.refused(403, {"prompt": "A"}, headers={
            "Origin": "http://elsewhere.example"})
        self.assertEqual(self.server.complete(prompt="A")[0], 200)

    def test_a_full_queue_is_told_with_when_to_come_again(self):
        sockets = [raw_request(self.server, {
            "prompt": "A", "max_tokens": 1000, "temperature": 0, "n": 2,
            "stream": True}) for _ in range(2)]
        until(lambda: self.server.status()["requests"]["queue"] == 4)
        status, headers, text = self.server.ask(
            "POST", "/v1/completions", {"prompt": "B"})
        for one in sockets:
            one.close()
        self.assertEqual(status, 429)
        self.assertIn("Retry-After", headers)
        self.assertEqual(json.loads(text)["error"]["code"], "queue_full")
        until(lambda: self.server.status()["requests"]["active"] == 0)
        self.assertEqual(self.server.complete(prompt="B")[0], 200)

    def test_a_model_that_does_not_fit_is_unavailable(self):
        server = self.serve("--memory", "1M")
        status, headers, text = server.ask("POST", "/v1/completions",
                                           {"prompt": "A"})
        self.assertEqual(status, 503)
        self.assertIn("Retry-After", headers)
        self.assertEqual(json.loads(text)["error"]["code"], "out_of_memory")
        self.assertEqual(server.json("GET", "/admin/health")[0], 200)


def raw_request(server, body):
    """A socket with a request sent, and nothing read."""
    text = json.dumps(body).encode()
    one = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    one.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
                b"Content-Length: %d\r\n\r\n" % len(text) + text)
    return one


class Fuzz(unittest.TestCase):
    def test_a_thousand_broken_requests(self):
        done = subprocess.run(
            [sys.executable, os.path.join(ROOT, "scripts", "http_fuzz"),
             "--cases", "1000", "--seed", "2", BUILD], capture_output=True,
            timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertIn(b"none under way", done.stdout)


class Life(Case):
    def test_f3_f4_f5_unload_and_load_again(self):
        server = self.serve()
        before = server.status()["memory"]
        body = {"prompt": "A block table", "max_tokens": 20, "temperature": 0}
        for _ in range(3):
            answer = server.complete(**body)[1]
            self.assertEqual(answer["choices"][0]["text"], GREEDY)
            loaded = server.status()["memory"]
            self.assertGreater(loaded["active_memory_bytes"], 1e6)
            self.assertEqual(server.json("POST", "/admin/unload")[0], 200)
            after = server.status()["memory"]
            self.assertFalse(after["model_loaded"])
            taken = (loaded["active_memory_bytes"] -
                     before["active_memory_bytes"])
            left = after["active_memory_bytes"] - before["active_memory_bytes"]
            self.assertLessEqual(left, 0.025 * taken)
            self.assertEqual(after["device_bytes"], 0)
        self.assertEqual(server.json("POST", "/admin/load")[0], 200)
        self.assertTrue(server.status()["memory"]["model_loaded"])
        self.assertEqual(server.status()["model"]["loads"], 4)

    def test_f3_unloading_now_ends_a_stream_cleanly(self):
        server = self.serve()
        one = raw_request(server, {"prompt": "A", "max_tokens": 1000,
                                   "temperature": 0, "stream": True})
        until(lambda: server.status()["requests"]["drawn_tokens"] > 3)
        self.assertEqual(server.json("POST", "/admin/unload?now=1")[0], 200)
        text = b""
        while b"[DONE]" not in text:
            more = one.recv(65536)
            self.assertNotEqual(more, b"", text)
            text += more
        one.close()
        self.assertIn(b'"error"', text)
        self.assertIn(b"unloaded on request", text)

    def test_f6_an_idle_model_is_let_go(self):
        server = self.serve("--idle-timeout", "0.3")
        server.complete(prompt="A", max_tokens=1)
        until(lambda: not server.status()["memory"]["model_loaded"])
        self.assertEqual(server.status()["model"]["idle_unloads"], 1)
        self.assertEqual(server.complete(prompt="A", max_tokens=1)[0], 200)
        self.assertEqual(server.status()["model"]["loads"], 2)

    def test_f7_status_and_health(self):
        server = self.serve("--idle-timeout", "42")
        self.assertEqual(server.json("GET", "/admin/health"),
                         (200, {"status": "healthy"}))
        status = server.status()
        self.assertEqual(status["status"], "running")
        self.assertEqual(status["idle_timeout_seconds"], 42)
        self.assertLessEqual({"active_memory_gb", "model_loaded"},
                             set(status["memory"]))
        self.assertIsNone(status["requests"]["last_activity"])
        server.complete(prompt="A", max_tokens=1)
        status = server.status()
        self.assertLessEqual({"total", "active", "uptime", "last_activity"},
                             set(status["requests"]))
        self.assertAlmostEqual(status["requests"]["last_activity"],
                               time.time(), delta=5)
        blocks = status["blocks"]
        self.assertEqual(blocks["free"] + blocks["used"], blocks["total"])

    def test_metrics_are_what_prometheus_reads(self):
        server = self.serve()
        without = server.ask("GET", "/metrics")[2].decode()
        self.assertIn("folio_model_loaded 0\n", without)
        self.assertEqual(server.status()["model"]["loads"], 0)
        server.complete(prompt="A", max_tokens=3)
        code, headers, text = server.ask("GET", "/metrics")
        self.assertEqual(code, 200)
        self.assertTrue(headers["Content-Type"].startswith("text/plain"))
        values = dict(line.split() for line in text.decode().splitlines()
                      if not line.startswith("#"))
        self.assertEqual(values["folio_requests_completed_total"], "1")
        self.assertEqual(values["folio_drawn_tokens_total"], "3")
        self.assertEqual(
            float(values["folio_blocks"]), float(values["folio_blocks_free"]) +
            float(values["folio_blocks_used"]))
        if not shutil.which("promtool"):
            self.skipTest("there is no promtool to judge the rest")
        for page in (without.encode(), text):
            done = subprocess.run(["promtool", "check", "metrics"], input=page,
                                  capture_output=True, timeout=30)
            self.assertEqual((done.returncode, done.stdout, done.stderr),
                             (0, b"", b""))

    def test_f8_counts_through_success_error_and_departure(self):
        server = self.serve()
        server.complete(prompt="A", max_tokens=1)
        server.complete(prompt="A", max_tokens=5000)
        for stream in (True, False):
            one = raw_request(server, {"prompt": "A", "max_tokens": 1000,
                                       "temperature": 0, "stream": stream})
            until(lambda: server.status()["requests"]["active"] == 1)
            one.close()
            until(lambda: server.status()["requests"]["active"] == 0)
        requests = server.status()["requests"]
        self.assertEqual([requests[name] for name in (
            "total", "completed", "failed", "cancelled")], [4, 1, 1, 2])
        self.assertLess(requests["drawn_tokens"], 1500)

    def test_f9_the_first_token_comes_soon(self):
        server = self.serve()
        began = time.monotonic()
        one = raw_request(server, {"prompt": "A block", "max_tokens": 50,
                                   "stream": True})
        text = b""
        while b"data: " not in text:
            text += one.recv(4096)
        seconds = time.monotonic() - began
        one.close()
        print(f"cpu: first token after {1000 * seconds:.0f} ms, "
              "the load included")
        self.assertLess(seconds, 0.5)

    def test_the_token_guards_the_admin(self):
        server = self.serve("--admin-token", "secret")
        for headers in ({}, {"Authorization": "Bearer secre"},
                        {"Authorization": "Bearer secretx"}):
            for path in ("/admin/health", "/admin/status"):
                self.assertEqual(server.ask("GET", path, None, headers)[0],
                                 401)
            self.assertEqual(
                server.ask("POST", "/admin/unload", None, headers)[0], 401)
        good = {"Authorization": "Bearer secret"}
        self.assertEqual(server.ask("GET", "/admin/status", None, good)[0],
                         200)
        self.assertEqual(server.complete(prompt="A", max_tokens=1)[0], 200)

    def test_sigterm_lets_requests_end_and_a_second_one_does_not(self):
        server = self.serve()
        one = raw_request(server, {"prompt": "A", "max_tokens": 300,
                                   "temperature": 0, "stream": True})
        until(lambda: server.status()["requests"]["drawn_tokens"] > 3)
        server.process.send_signal(signal.SIGTERM)
        text = b""
        while True:
            more = one.recv(65536)
            if not more:
                break
            text += more
            if b"[DONE]" in text:
                break
        one.close()
        self.assertIn(b"[DONE]", text)
        self.assertNotIn(b'"error"', text)
        self.assertEqual(server.process.wait(30), 0)
        server = self.serve()
        one = raw_request(server, {"prompt": "A", "max_tokens": 1000,
                                   "temperature": 0, "n": 8})
        until(lambda: server.status()["requests"]["drawn_tokens"] > 3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        server.process.send_signal(signal.SIGTERM)
        one.close()
        self.assertEqual(server.process.wait(5), 143)

    def test_a_slow_sender_and_a_slow_reader_stall_nobody(self):
        server = self.serve()
        slow = socket.create_connection(("127.0.0.1", server.port))
        slow.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConte")
        reader = raw_request(server, {"prompt": "A", "max_tokens": 200,
                                      "temperature": 0, "stream": True})
        began = time.monotonic()
        for _ in range(3):
            answer = server.complete(prompt="A block table", max_tokens=20,
                                     temperature=0)[1]
            self.assertEqual(answer["choices"][0]["text"], GREEDY)
        self.assertLess(time.monotonic() - began, 20)
        until(lambda: server.status()["requests"]["active"] == 0, 60)
        self.assertEqual(server.status()["requests"]["completed"], 4)
        reader.close()
        slow.close()

    def test_an_address_that_is_taken_or_is_none(self):
        server = self.serve()
        for flags, word in ((["-p", str(server.port)], "cannot listen"),
                            (["--host", "nowhere"], "no address")):
            done = subprocess.run([FOLIO, "serve", *flags], cwd=ROOT,
                                  capture_output=True, timeout=30)
            self.assertEqual(done.returncode, 1)
            self.assertIn(word, done.stderr.decode())


if __name__ == "__main__":
    unittest.main()
