"""A headless browser on pages that this process serves, and what it finds on them."""

import functools
import http.server
import json
import queue
import subprocess
import threading

#: The pages in frames of each width, one after the other: what is on them goes back to the server.
PROBE = """<!doctype html><script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

const scrolls = (box) => ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
const fits = (box) => box.scrollWidth <= box.clientWidth + 1 || scrolls(box);

function shown(view) {
  const page = view.document, root = page.documentElement, host = view.location.origin;
  const loaded = view.performance.getEntriesByType("resource").map((entry) => entry.name);
  const pictures = [...page.querySelectorAll("article img")].map((image) => image.src);
  return {
    overflow: root.scrollWidth - root.clientWidth,
    clipped: [...page.querySelectorAll("article pre, article table, article .formula")]
      .filter((box) => !fits(box) || !fits(box.parentElement)).map((box) => box.textContent.slice(0, 60)),
    wide_code: [...page.querySelectorAll("article .highlight pre")]
      .filter((box) => !box.closest(".cell_output") && box.scrollWidth > box.clientWidth + 1)
      .map((box) => box.textContent.slice(0, 60)),
    outside: loaded.filter((name) => !name.startsWith(host) && !name.startsWith("data:")),
    twice: pictures.filter((source, place) => pictures.indexOf(source) != place),
    formulas: page.querySelectorAll("article math").length,
    links: [...page.querySelectorAll("a[href]")].map((link) => link.href).filter((name) => name.startsWith(host)),
    ids: [...page.querySelectorAll("[id]")].map((element) => element.id),
    text: page.querySelector("#search-results")?.textContent ?? "",
  };
}

async function visit(name, width, patience) {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: 900px; border: 0`;
  const loaded = new Promise((done) => (frame.onload = done));
  frame.src = name;
  document.body.append(frame);
  await loaded;
  await wait(patience);
  const found = shown(frame.contentWindow);
  frame.remove();
  return { name, width, ...found };
}

onload = async () => {
  const found = [];
  for (const [name, width, patience] of VISITS) found.push(await visit(name, width, patience));
  await fetch("/found", { method: "POST", body: JSON.stringify(found) });
};
</script><body></body>"""


class _Server(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, the probe, and what the probe found."""

    def __init__(self, *args, probe, found, **options):
        self.probe, self.found = probe, found
        super().__init__(*args, **options)

    def do_GET(self):
        if self.path != "/probe":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.probe)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.found.put(json.loads(body))

    def log_message(self, *_):
        """Keep quiet."""


def visit(folder, visits, profile, timeout=600):
    """Open pages of a folder in frames, and say what is on each and what the console said.

    Args:
        folder: the pages.
        visits: ``(path, width in pixels, milliseconds to wait)`` of each visit.
        profile: an empty folder for the browser.
        timeout: seconds until the browser is given up.
    """
    found = queue.Queue()
    probe = PROBE.replace("VISITS", json.dumps(visits)).encode()
    handler = functools.partial(_Server, directory=folder, probe=probe, found=found)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--log-level=0"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={profile}"]
    flags += ["--remote-debugging-port=0", "--window-size=1400,1000"]
    command = ["chromium", *flags, f"http://127.0.0.1:{server.server_port}/probe"]
    with open(profile / "log", "w+b") as log:
        browser = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            pages = found.get(timeout=timeout)
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()
            server.server_close()
        log.seek(0)
        lines = log.read().decode(errors="replace").splitlines()
    return pages, [line for line in lines if "CONSOLE" in line or "net::ERR" in line]
