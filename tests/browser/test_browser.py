"""The page as a reader meets it, in headless Chromium.

No console error, nothing fetched, sorting, the trajectories, what is behind a cell.
"""

import html as html_module
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
MISSING = "no Chromium here (Debian: apt-get install chromium)"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

# A script does what a reader does, and leaves what came of it in the document's title.
READER = """
const report = { errors: window.seenErrors };
const tables = [...document.querySelectorAll("table.sortable.numbers")];
const table = tables.find(t => t.caption.textContent.includes("every method"));
const heading = "Test accuracy (%), validation";
const column = [...table.tHead.rows[0].cells].findIndex(c => c.textContent.startsWith(heading));
const keys = () => [...table.tBodies[0].rows].map(r => r.cells[column].dataset.key);
const cells = () => keys().filter(k => k !== "").map(Number);
const button = table.tHead.rows[0].cells[column].firstElementChild;
button.focus();
report.focused = document.activeElement === button;
button.click(); report.up = cells(); report.sortUp = table.tHead.rows[0].cells[column].ariaSort;
button.click(); report.down = cells();
const lines = () => document.querySelectorAll("#chart polyline").length;
report.lines = lines();
const seed = document.getElementById("t-seed");
seed.value = seed.options[1].value; seed.dispatchEvent(new Event("change"));
report.oneSeed = lines();
const experiment = document.getElementById("t-experiment");
report.experiments = experiment.options.length;
experiment.selectedIndex = experiment.options.length - 1;
experiment.dispatchEvent(new Event("change"));
report.label = document.getElementById("chart").getAttribute("aria-label");
const known = [...table.tBodies[0].rows].find(r => r.dataset.row === "sgd+hsac");
known.cells[column].focus();
known.cells[column].dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
report.open = document.getElementById("why").open;
report.why = document.getElementById("why").textContent;
document.getElementById("why").close();
const unknown = [...table.tBodies[0].rows].find(r => r.dataset.row !== "sgd+hsac");
unknown.cells[column].click();
report.openUnknown = document.getElementById("why").open;
const resources = performance.getEntriesByType("resource").map(e => e.name);
report.fetched = resources.filter(n => !n.startsWith("data:"));
report.wide = document.documentElement.scrollWidth > window.innerWidth;
document.title = JSON.stringify(report);
"""
FIRST = """<script>
window.seenErrors = []; addEventListener("error", e => seenErrors.push(e.message));
</script>"""
LAST = f"""<script>
try {{ {READER} }} catch (e) {{ document.title = JSON.stringify(String(e)); }}
</script>"""


def visit(page: Path, folder: Path, width: int) -> dict:
    html = page.read_text()
    probe = folder / f"probe{width}.html"
    html = html.replace("<head>", f"<head>{FIRST}").replace("</body>", f"{LAST}</body>")
    probe.write_text(html)
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-quic", "--disable-sync", "--disable-background-networking"]
    command += ["--disable-component-update", f"--user-data-dir={folder / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--enable-logging=stderr"]
    command += [f"--window-size={width},900", "--dump-dom", probe.as_uri()]
    env = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None, done.stderr[-2000:]
    report = json.loads(html_module.unescape(title[1]))
    assert isinstance(report, dict), report
    return {**report, "console": said}


@pytest.mark.parametrize("width", [1300, 500])
def test_reader_sorts_and_browses(page: Path, tmp_path: Path, width: int) -> None:
    report = visit(page, tmp_path, width)
    assert report["errors"] == []
    assert report["console"] == []
    assert report["fetched"] == []
    assert report["focused"]
    assert report["up"] == sorted(report["up"])
    assert len(set(report["up"])) > 2
    assert report["down"] == report["up"][::-1]
    assert report["sortUp"] == "ascending"
    assert report["lines"] > report["oneSeed"] > 0
    assert report["experiments"] == 2
    assert "against training step" in report["label"]
    assert report["open"]
    assert "digits: sgd+hsac: Test accuracy" in report["why"]
    command = f"hsac why digits sgd+hsac test_accuracy_percent --scale '{page.parent.name}'"
    for words in (command, "test_accuracy_percent", "4 records", "5ea1", "mlp"):
        assert words in report["why"]
    assert not report["openUnknown"]
    assert not report["wide"]  # tables scroll in their frames, the page itself does not
