"""Take the screenshots of the docs: runs the demo and looks at its page with Chromium.

Usage: .venv/bin/python benchmarks/screenshots.py
"""

import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WARM_UP_MS = 30_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIEWS = {
    "floor-light": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    "floor-dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "floor-phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}


def main() -> None:
    """Run the demo, wait until the shop is busy, and take all views."""
    command = [sys.executable, "-m", "fanous", "demo", "--port", "0"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as demo:
        try:
            line = ""
            while "http://" not in line:
                line = demo.stderr.readline()
                if not line:
                    raise SystemExit("the demo did not start")
            address = line.split("work at ")[1].split(" ")[0]
            with sync_playwright() as play:
                browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
                for number, (name, options) in enumerate(VIEWS.items()):
                    page = browser.new_page(**options)
                    page.goto(address)
                    page.wait_for_timeout(6_000 if number else WARM_UP_MS)
                    page.screenshot(path=str(IMAGES / f"{name}.png"))
                    page.close()
                browser.close()
        finally:
            demo.terminate()


if __name__ == "__main__":
    main()
