"""`make screenshots`: the pictures of the README, from the last run and from a case that can't be met."""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from tests.browser.chromium import open_browser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WIDTH, QUALITY = 1160, 80
_WRONG = '''
    from conformance.api import ACK, FIN, Case, State, verifies

    @verifies("RFC9293:3.6-case-3")
    async def test_fin_that_crosses_ours(tcp: Case) -> None:
        """Both ends close at once.

        The target must acknowledge a FIN that was never sent: no target does, so that this page shows a violation.
        """
        conn = await tcp.drive_to(State.FIN_WAIT_1)
        await conn.send(FIN | ACK, ack=conn.fin_seen.seq)
        await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt + 1)
'''


def main(run: Path) -> int:
    """Take them from the pages of a run's folder; 1 where there are none."""
    if not (run / "index.html").is_file():
        print(f"there is no report in {run}: run `make conformance` first", file=sys.stderr)
        return 1
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, open_browser() as browser:
        (Path(name) / "test_example.py").write_text(textwrap.dedent(_WRONG))
        (Path(name) / "pytest.ini").write_text("[pytest]\n")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--output=out", "--family=4"]
        subprocess.run(command, cwd=name, stdout=subprocess.DEVNULL, check=False)
        case = next((Path(name) / "out" / "cases").glob("*.html"))
        for what, page, height in (
            ("overview", run / "index.html", 1000),
            ("case", case, 1420),
            ("timing", run / "timing.html", 900),
        ):
            if page.is_file():
                _take(browser, page, DOCS / f"{what}.webp", height)
    return 0


def _take(browser: Any, page: Path, goal: Path, height: int) -> None:
    shown = browser.new_page(viewport={"width": WIDTH, "height": height})
    shown.goto(page.as_uri())
    session = shown.context.new_cdp_session(shown)
    taken = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    goal.write_bytes(base64.b64decode(taken["data"]))
    print(f"{goal.relative_to(ROOT)}: {goal.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "reports" / "latest")))
