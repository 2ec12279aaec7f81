"""The whole report as one file, to hand on: the overview, the state map, the requirements, and the cases that need a look.

Pages of cases that conform, or that did not apply, are left out: there are thousands of them, and they say nothing that the
list does not. The pages are those that are in the folder, joined: ids get the page's name before them, and links between
pages become links within the file. What is linked and not in the file stays text.
"""

import base64
import hashlib
import re
from pathlib import Path
from urllib.parse import unquote

from conformance.record.errors import RecordError
from conformance.record.inside import open_inside
from conformance.record.pcapng import MOST_OCTETS
from conformance.report.files import MAIN, put, static
from conformance.report.overview import gather

_QUIET = ("conforms", "not applicable")
_BODY = re.compile(r"<body>(.*)</body>", re.DOTALL)
# Text has no quotation marks on our pages: they are escaped. So these match attributes alone.
_ID = re.compile(r' (id|aria-labelledby)="([^"]*)"')
_LINK = re.compile(r'<a([^>]*?) href="([^"]*)"([^>]*)>(.*?)</a>', re.DOTALL)


def make_single(run_dir: Path) -> Path:
    """Write `report.html` from the pages of a run's folder; RecordError when they are not there or it can't be written."""
    overview = gather(run_dir)
    looks = [entry.page for entry in overview.order if entry.verdict not in _QUIET]
    names = [name for name in MAIN if (run_dir / name).is_file()] + [f"cases/{page}.html" for page in looks]
    goal = run_dir / "report.html"
    try:
        pages = {name: _BODY.search((run_dir / name).read_text("utf-8")) for name in names}
        anchors = {name: _anchor(name) for name in names}
        parts = [
            f'<article class="page" id="{anchors[name]}">{_joined(body.group(1), name, anchors, run_dir)}</article>'
            for name, body in pages.items()
            if body is not None
        ]
        style = static("style.css") + (run_dir / "filter.css").read_text("utf-8")
        put(goal, _HEAD.format(style=style, hash=_hash(style)) + "\n".join(parts) + "</body>\n</html>\n")
    except OSError as error:
        raise RecordError(f"can't make {goal}: {error.filename}: {error.strerror or error}") from error
    return goal


_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-{hash}'">
<meta name="color-scheme" content="light dark">
<title>TCP conformance</title>
<style>{style}</style>
</head>
<body>
"""


def _hash(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _anchor(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".html")


def _joined(body: str, name: str, anchors: dict[str, str], run_dir: Path) -> str:
    """Return a page's body with ids and links that are unique in the whole file."""
    own = anchors[name]

    def renamed(matched: re.Match[str]) -> str:
        words = " ".join(f"{own}--{word}" for word in matched.group(2).split())
        return f' {matched.group(1)}="{words}"'

    def linked(matched: re.Match[str]) -> str:
        before, href, after, inside = matched.groups()
        goal, _, part = href.partition("#")
        if goal.startswith("https://"):
            return matched.group(0)
        path = goal.removeprefix("../") if goal.startswith("../") or "/" not in name else f"cases/{goal}"
        page = name if not goal else path
        if page in anchors:
            where = f"{anchors[page]}--{part}" if part else anchors[page]
            return f'<a{before} href="#{where}"{after}>{inside}</a>'
        capture = open_inside(run_dir, unquote(path)) if path.endswith(".pcapng") else None
        if capture is not None:
            with capture:
                data = base64.b64encode(capture.read(MOST_OCTETS)).decode()
            file = path.rpartition("/")[2]
            return f'<a href="data:application/octet-stream;base64,{data}" download="{file}">{inside}</a>'
        # In a drawing a group takes the place of a link, elsewhere a span does.
        kind = "g" if "<title>" in inside else "span"
        return f"<{kind}{before}>{inside}</{kind}>"

    body = re.sub(r"<script.*?</script>", "", body)
    return _LINK.sub(linked, _ID.sub(renamed, body))
