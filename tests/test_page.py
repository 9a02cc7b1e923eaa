#!/usr/bin/env python3
"""The page at /, in a browser without a window."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.keys import Keys
except ImportError:
    webdriver = None

HOME = pathlib.Path(__file__).resolve().parent.parent
FOLIO = HOME / os.environ.get("FOLIO_BUILD", "build") / "folio"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = [name for name, there in (
    ("python3-selenium", webdriver), ("chromium", CHROMIUM),
    ("chromium-driver", DRIVER)) if not there]
PATIENCE = 20

# Each text against what lies behind it, as the web's accessibility guidelines
# reckon: the least ratio of lightness, and where.
CONTRAST = """
const parts = c => c.match(/[\\d.]+/g).map(Number);
const light = c => parts(c).slice(0, 3).map(v => v / 255)
  .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const solid = c => { const p = parts(c); return p.length < 4 || p[3] > 0; };
const behind = e => { for (; e; e = e.parentElement) {
  const c = getComputedStyle(e).backgroundColor; if (solid(c)) return c; } };
let least = [99, ""];
for (const e of document.querySelectorAll("body *")) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own || !e.checkVisibility() || e.disabled) continue;
  const a = light(getComputedStyle(e).color), b = light(behind(e));
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (ratio < least[0]) least = [ratio, e.outerHTML.slice(0, 80)];
}
return least;"""


class Server:
    def __init__(self, *flags):
        self.process = subprocess.Popen(
            [FOLIO, "serve", "--port", "0", *flags], cwd=HOME, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "2"})
        self.url = re.search(r"http://\S+", self.process.stdout.readline())[0]

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
            return answer.headers, answer.read().decode()

    def status(self):
        return json.loads(self.get("/admin/status")[1])

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Feed(unittest.TestCase):
    """What needs no browser."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--blocks", "64")
        cls.addClassCleanup(cls.server.close)

    def test_the_page_is_the_file_and_may_speak_to_its_server_alone(self):
        headers, text = self.server.get("/")
        self.assertEqual(
            text, (HOME / "src/server/page.html").read_text(encoding="utf-8"))
        self.assertIn("text/html", headers["Content-Type"])
        self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        self.assertNotRegex(text, r"https?://|innerHTML|document\.write|eval\(")

    def test_f6_looking_neither_wakes_the_model_nor_counts_as_activity(self):
        before = self.server.status()
        for path in ("/", "/admin/blocks", "/admin/status"):
            self.server.get(path)
        after = self.server.status()
        self.assertEqual(after["model"], before["model"])
        for name in ("total", "last_activity"):
            self.assertEqual(after["requests"][name], before["requests"][name])

    def test_blocks_are_told_as_runs_that_add_up(self):
        server = Server("--blocks", "64")
        self.addCleanup(server.close)
        empty = json.loads(server.get("/admin/blocks")[1])
        self.assertEqual((empty["known"], empty["runs"]), (False, []))
        body = json.dumps({"prompt": "The engine " * 20, "max_tokens": 4})
        urllib.request.urlopen(server.url + "/v1/completions", body.encode(),
                               timeout=PATIENCE).read()
        told = json.loads(server.get("/admin/blocks")[1])
        self.assertTrue(told["known"])
        self.assertEqual(sum(run[2] for run in told["runs"]), told["total"])
        free = sum(run[2] for run in told["runs"] if run[0] == -1)
        kept = sum(run[2] for run in told["runs"] if run[0] == -2)
        blocks = server.status()["blocks"]
        self.assertEqual((free, kept), (
            told["total"] - blocks["used"], blocks["used"]))
        self.assertGreater(kept, 0)

    def test_with_a_token_the_blocks_are_guarded_and_the_page_is_not(self):
        server = Server("--admin-token", "secret")
        self.addCleanup(server.close)
        self.assertIn("<title>Folio</title>", server.get("/")[1])
        with self.assertRaises(urllib.error.HTTPError) as refused:
            server.get("/admin/blocks")
        self.assertEqual(refused.exception.code, 401)
        refused.exception.close()


@unittest.skipIf(MISSING, f"not installed: {', '.join(MISSING)}")
class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--blocks", "192")
        cls.addClassCleanup(cls.server.close)
        cls.folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu",
                     "--disable-dev-shm-usage", "--no-first-run",
                     "--window-size=1280,1000",
                     f"--user-data-dir={cls.folder}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs",
                               {"browser": "ALL", "performance": "ALL"})
        cls.browser = webdriver.Chrome(service=Service(DRIVER), options=options)
        cls.addClassCleanup(cls.browser.quit)
        # A new browser looks at pages of its own first; they are not ours.
        cls.browser.get("about:blank")
        cls.browser.get_log("performance")

    def setUp(self):
        self.browser.get(self.server.url)
        self.wait(lambda: self.text("state") != "…")

    def tearDown(self):
        """Whatever a test did: no error was written, no one else was asked."""
        told = self.browser.get_log("browser")
        self.assertEqual([one["message"] for one in told], [])
        asked = self.requests()
        self.assertTrue(asked)
        self.assertEqual([url for url in asked if not url.startswith(
            (self.server.url + "/", "data:,"))], [])

    def requests(self):
        messages = [json.loads(entry["message"])["message"]
                    for entry in self.browser.get_log("performance")]
        return [message["params"]["request"]["url"] for message in messages
                if message["method"] == "Network.requestWillBeSent"]

    def run_js(self, script):
        return self.browser.execute_script(script)

    def find(self, name):
        return self.browser.find_element("id", name)

    def text(self, name):
        return self.find(name).get_property("textContent")

    def wait(self, true):
        until = time.monotonic() + PATIENCE
        while not true():
            self.assertLess(time.monotonic(), until, self.text("told"))
            time.sleep(0.05)

    def picture(self):
        return self.run_js("return $('map').toDataURL()")

    def rows(self):
        return self.run_js("return $('running').rows.length")

    def type_and_send(self, prompt, most=30, answers=1):
        for name, words in (("most", most), ("answers", answers),
                            ("seed", 1), ("prompt", prompt)):
            self.find(name).clear()
            self.find(name).send_keys(str(words))
        self.find("prompt").send_keys(Keys.CONTROL, Keys.ENTER)

    def ended(self):
        return re.match(r"\d+ tokens in", self.text("told"))

    def test_streams_what_the_server_says(self):
        self.run_js("window.grew = 0; new MutationObserver(() => grew++).observe("
                    "$('out'), {childList: true, subtree: true,"
                    " characterData: true})")
        self.type_and_send("A block table", 60)
        self.wait(self.ended)
        self.assertGreater(self.run_js("return grew"), 3, "it came all at once")
        self.assertRegex(self.text("told"), r"^60 tokens in .* first text")
        body = {"prompt": "A block table", "max_tokens": 60, "seed": 1,
                "temperature": 0.8}
        with urllib.request.urlopen(
                self.server.url + "/v1/completions", json.dumps(body).encode(),
                timeout=PATIENCE) as answer:
            want = json.load(answer)["choices"][0]["text"]
        self.assertEqual(self.text("out"), "A block table" + want)

    def test_the_map_changes_while_a_request_runs(self):
        before = self.picture()
        self.type_and_send("The engine keeps the blocks that it has. " * 3,
                           900, answers=3)
        self.wait(lambda: self.rows() == 3)
        self.assertNotEqual(self.picture(), before)
        self.assertRegex(self.text("summary"), r"[1-9]\d* held, [1-9]\d* shared")
        self.assertRegex(self.text("running"), r"\d+: \d+")
        self.assertEqual(self.text("active"), "1")
        self.wait(lambda: float(self.text("rate")) > 0)
        self.shoot("wide")
        # Stopped, it gives its blocks back at once.
        self.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
        self.wait(lambda: self.text("told") == "Stopped.")
        self.wait(lambda: self.rows() == 0)
        self.assertEqual(self.server.status()["requests"]["active"], 0)

    def test_what_is_said_is_text(self):
        said = "<img src=x onerror=\"document.title='hit'\"> <b>bold</b>"
        self.type_and_send(said, 4)
        self.wait(self.ended)
        self.assertTrue(self.text("out").startswith(said))
        self.assertEqual(self.run_js(
            "return $('out').querySelectorAll('img, b').length"), 0)
        self.assertEqual(self.browser.title, "Folio")

    def shoot(self, name):
        if os.environ.get("SHOTS"):
            path = pathlib.Path(os.environ["SHOTS"], name + ".png")
            self.browser.save_screenshot(str(path))

    def test_is_legible_in_light_and_dark_on_any_width(self):
        self.type_and_send("word" * 60, 4)
        self.wait(self.ended)
        for scheme in ("light", "dark"):
            self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
                "features": [{"name": "prefers-color-scheme",
                              "value": scheme}]})
            dark = self.run_js(
                "return getComputedStyle(document.body).backgroundColor"
                ".match(/\\d+/g)[0] < 128")
            self.assertEqual(dark, scheme == "dark")
            least, where = self.run_js(CONTRAST)
            self.assertGreaterEqual(least, 4.5, (scheme, where))
            for width in (320, 390, 768, 1280):
                self.browser.execute_cdp_cmd(
                    "Emulation.setDeviceMetricsOverride",
                    {"width": width, "height": 900, "mobile": width < 500,
                     "deviceScaleFactor": 1})
                wide = self.run_js("return document.documentElement.scrollWidth")
                self.assertLessEqual(wide, width, scheme)
                time.sleep(0.05)
                self.shoot(f"{scheme}-{width}")
        # The rule can tell: what is too wide and too pale is found.
        self.run_js("document.body.style.minWidth = '3000px';"
                    "$('summary').style.color = $('summary').parentElement"
                    ".style.color = 'rgb(60, 60, 60)'")
        self.assertGreater(self.run_js(
            "return document.documentElement.scrollWidth"), 1280)
        self.assertLess(self.run_js(CONTRAST)[0], 4.5)
        self.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                     {"features": []})

    def test_all_is_in_reach_of_the_keyboard(self):
        press = lambda *keys: self.browser.switch_to.active_element.send_keys(
            *keys)
        order = []
        for _ in range(20):
            webdriver.ActionChains(self.browser).send_keys(Keys.TAB).perform()
            name = self.run_js("return document.activeElement.id")
            if name in order:
                break
            order.append(name)
            if name == "load":
                press(Keys.ENTER)
                self.wait(lambda: self.text("state") == "ready")
            if name == "map":
                self.wait(lambda: "free" in self.text("summary"))
                press(Keys.ARROW_RIGHT)
                self.assertRegex(self.text("spot"), r"^Block 0: ")
                press(Keys.END)
                self.assertRegex(self.text("spot"), r"^Block 191: free")
                self.assertNotEqual(self.run_js(
                    "return getComputedStyle($('map')).outlineStyle"), "none")
            if name == "send":
                press(Keys.ENTER)
                self.wait(self.ended)
        wanted = ["load", "unload", "map", "prompt", "most", "heat", "answers",
                  "seed", "send", "chat", "out"]
        self.assertEqual([name for name in order if name in wanted], wanted)

    def test_asks_for_the_token_and_goes_on_with_it(self):
        server = Server("--admin-token", "secret")
        self.addCleanup(server.close)
        self.browser.get(server.url)
        self.wait(lambda: self.find("door").is_displayed())
        self.find("token").send_keys("secret", Keys.ENTER)
        self.wait(lambda: self.text("state") == "unloaded")
        self.assertFalse(self.find("door").is_displayed())
        # The browser itself writes down each answer that was 401, and the
        # other server is another origin: neither is an error here.
        told = [one["message"] for one in self.browser.get_log("browser")]
        self.assertTrue(told and all(" 401 " in one for one in told), told)
        self.assertTrue(all(url.startswith((server.url, self.server.url, "data:"))
                            for url in self.requests()))
        self.browser.get(self.server.url)


if __name__ == "__main__":
    if MISSING:
        print(f"SKIP: the browser's tests: not installed: {MISSING}",
              file=sys.stderr)
    unittest.main()
