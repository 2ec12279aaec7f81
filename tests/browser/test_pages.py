"""The pages as a browser shows them: from disk, with scripts off and on, wide and narrow, light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.report.baseline_files import BEFORE, load
from conformance.report.compare import compare
from conformance.report.comparison_page import make_comparison
from conformance.report.folder import replaced
from conformance.report.pages import make_report
from conformance.report.single import make_single
from conformance.standard.catalogue import requirements
from tests.unit.test_report import T0, S, make_record, make_run, save, simultaneous_close

JENKINS = "sandbox; default-src 'none'; img-src 'self'; style-src 'self'"
LONG = "a very long text that goes on and on, without an end in sight "


def long_case() -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """A case with everything that a ladder can show, and long words in all of it."""
    record, frames = simultaneous_close(broken=True)
    record |= {"id": "t.py::test_long[ipv4]", "title": LONG * 3, "capture": "captures/long.pcapng"}
    for step in record["steps"]:
        step["text"] = LONG * 2
    for number in range(40):
        at = T0 + 2 * S + number * S // 3
        record["steps"].append({"kind": ("note", "app", "silence")[number % 3], "at_ns": at, "text": LONG})
        side = ("target", "tester")[number % 2]
        record["states"].append({"at_ns": at, "side": side, "state": f"STATE-{number}", "by": "agent and probe"})
    return record, frames


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of every verdict, with a run before it, a baseline and a case that is long in all ways."""
    folder = tmp_path_factory.mktemp("report")
    make_run(folder)
    make_report(folder)
    with replaced(folder):
        pass
    make_run(folder)
    save(folder, *long_case())
    make_report(folder, load(str(folder / BEFORE)))
    make_single(folder)
    before, now = load(str(folder / BEFORE)), load(str(folder))
    make_comparison(folder / "compare.html", compare([before, now]), requirements())
    return folder


@pytest.fixture
def errors() -> list[str]:
    return []


def opened(browser: Any, errors: list[str], **options: Any) -> Any:
    page = browser.new_context(**options).new_page()
    page.on("console", lambda message: errors.append(f"{page.url}: {message.text}"))
    page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
    page.on("requestfailed", lambda request: errors.append(f"{page.url}: {request.url} failed"))
    return page


@pytest.fixture(params=[True, False], ids=["script", "no-script"])
def page(browser: Any, errors: list[str], request: pytest.FixtureRequest) -> Iterator[Any]:
    page = opened(browser, errors, java_script_enabled=request.param)
    yield page
    page.context.close()


def pages(run: Path) -> list[Path]:
    return [*sorted(run.glob("*.html")), *sorted((run / "cases").glob("*.html"))]


def test_every_page_opens_without_a_message_and_every_link_leads_somewhere(
    page: Any, run: Path, errors: list[str]
) -> None:
    anchors: dict[Path, set[str]] = {}
    links: list[tuple[Path, str]] = []
    for path in pages(run):
        page.goto(path.as_uri())
        anchors[path] = set(re.findall(r' id="([^"]+)"', path.read_text("utf-8")))
        anchors_shown = page.locator("a[href]")
        links += [(path, link) for link in re.findall(r'<a [^>]*href="([^"]+)"', path.read_text("utf-8"))]
        assert anchors_shown.count() >= 1 or path.name == "compare.html"
    for path, link in links:
        if link.startswith(("https://www.rfc-editor.org/", "data:application/octet-stream;base64,")):
            continue
        file, _, anchor = link.partition("#")
        goal = (path.parent / file).resolve() if file else path
        assert goal.is_file(), (path, link)
        assert not anchor or anchor in anchors[goal], (path, link)
    assert not errors


def chooser(page: Any, name: str) -> Any:
    return page.locator(".filter label", has_text=re.compile(f"^{name} ")).locator("select")


def shown(page: Any) -> int:
    return int(page.locator("#cases ~ * [data-is]:visible").count())


def test_the_filter_filters(page: Any, run: Path, errors: list[str]) -> None:
    page.goto((run / "cases.html").as_uri())
    every = shown(page)
    assert every == 10
    verdict = chooser(page, "Verdict")
    verdict.select_option("violates")
    assert shown(page) == 2
    assert page.locator("#cases ~ .part details:visible").count() == 1
    chooser(page, "Section").select_option(label="RFC9293 section 3.6.1")
    assert shown(page) == 0
    page.get_by_role("button", name="Show all").click()
    page.wait_for_timeout(50)
    assert shown(page) == every
    chooser(page, "State").select_option("in-closing")
    assert 0 < shown(page) < every
    verdict.select_option("deviates")
    assert shown(page) <= 1
    assert not errors


def test_text_is_found_where_a_script_may_run(browser: Any, run: Path, errors: list[str]) -> None:
    page = opened(browser, errors)
    page.goto((run / "cases.html").as_uri())
    page.locator(".filter input").fill("LONG test")
    assert shown(page) == 1
    assert page.locator(".filter output").inner_text() == "1 of 10"
    without = opened(browser, errors, java_script_enabled=False)
    without.goto((run / "cases.html").as_uri())
    assert without.locator("input").is_hidden()
    assert not errors


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "name",
    [
        "index",
        "findings",
        "cases",
        "changes",
        "deviations",
        "choices",
        "skipped",
        "run",
        "states",
        "requirements",
        "timing",
        "compare",
        "report",
        "case",
    ],
)
def test_axe_finds_nothing(browser: Any, run: Path, name: str, scheme: str, errors: list[str]) -> None:
    """Contrast, names and roles by WCAG 2.1 AA."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = browser.new_context(color_scheme=scheme, bypass_csp=True).new_page()
    path = next((run / "cases").glob("simultaneous-close-broken*")) if name == "case" else run / f"{name}.html"
    page.goto(path.as_uri())
    tags = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    findings = axe.Axe().run(page, options={"runOnly": tags})
    assert not [(one["id"], one["nodes"][0]["html"]) for one in findings.response["violations"]]


OVERLAPS = """() => {
  const found = [];
  for (const svg of document.querySelectorAll(".ladder, .figure5")) {
    const texts = [...svg.querySelectorAll("text")].map((one) => [one.textContent, one.getBBox()]);
    const view = svg.viewBox.baseVal;
    texts.forEach(([text, box], index) => {
      if (box.x < 0 || box.x + box.width > view.width || box.y + box.height > view.height) found.push(`${text} is outside`);
      for (const [other, its] of texts.slice(0, index))
        if (box.x + 1 < its.x + its.width && its.x + 1 < box.x + box.width
            && box.y + 3 < its.y + its.height && its.y + 3 < box.y + box.height) found.push(`${text} on ${other}`);
    });
  }
  return found;
}"""


def test_no_text_of_a_drawing_overlaps(browser: Any, run: Path, errors: list[str]) -> None:
    page = opened(browser, errors)
    drawn = 0
    for path in pages(run):
        page.goto(path.as_uri())
        drawn += page.locator(".ladder text").count()
        assert page.evaluate(OVERLAPS) == [], path
    assert drawn > 100


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_no_page_is_wider_than_its_window(browser: Any, run: Path, width: int, errors: list[str]) -> None:
    page = opened(browser, errors, viewport={"width": width, "height": 700})
    for path in pages(run):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_jenkins_shows_it_as_it_is(browser: Any, run: Path, errors: list[str]) -> None:
    """Its content policy allows our style sheet and nothing else: the filter works, the script is refused."""
    page = browser.new_context().new_page()

    def serve(route: Any) -> None:
        path = run / route.request.url.partition("://jenkins/")[2]
        kind = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}[path.suffix]
        headers = {"Content-Security-Policy": JENKINS, "Content-Type": kind}
        route.fulfill(status=200, body=path.read_bytes(), headers=headers)

    page.route("**/*", serve)
    page.goto("http://jenkins/cases.html")
    assert page.locator("td > a.v-violates").first.evaluate("one => getComputedStyle(one).color") != "rgb(0, 0, 238)"
    chooser(page, "Verdict").select_option("violates")
    assert shown(page) == 2
    assert page.locator("input").is_hidden()


def test_one_file_holds_the_cases_that_need_a_look(browser: Any, run: Path, errors: list[str]) -> None:
    page = opened(browser, errors, java_script_enabled=False)
    text = (run / "report.html").read_text("utf-8")
    assert not re.search(r'(href|src)="(?!#|https://www\.rfc-editor\.org/|data:application/octet-stream;base64,)', text)
    page.goto((run / "report.html").as_uri())
    page.locator("#index--violates ~ .scroll td.names a").first.click()
    assert page.locator("article.page:target .ladder .arrow.failed").first.is_visible()
    assert page.locator("article.page").count() == 10 + 6, "the pages but the list of cases; the cases that need a look"
    assert not errors


def test_a_violation_is_one_click_from_its_ladder(browser: Any, run: Path, errors: list[str]) -> None:
    page = opened(browser, errors, java_script_enabled=False)
    page.goto((run / "index.html").as_uri())
    headings = page.locator("main h2").all_inner_texts()
    assert headings[0].startswith("✗ Violates")
    page.locator("#violates ~ .scroll td.names a").first.click()
    assert page.locator(".ladder .arrow.failed").first.is_visible()
    page.go_back()
    page.get_by_role("link", name="frame 7").first.click()
    assert page.locator("tr:target.failed").is_visible()
    assert not errors


def test_print_opens_what_is_folded(browser: Any, run: Path, errors: list[str]) -> None:
    page = opened(browser, errors, java_script_enabled=False)
    page.goto((run / "run.html").as_uri())
    assert page.locator("details:not([open]) dd").first.is_hidden()
    page.emulate_media(media="print")
    assert page.locator(".site").is_hidden()
    assert page.locator("details:not([open]) dd").first.evaluate("one => one.checkVisibility()") is not False


def test_a_record_without_a_case_opens_too(browser: Any, tmp_path: Path, errors: list[str]) -> None:
    (tmp_path / "results.jsonl").write_text("")
    make_report(tmp_path)
    page = opened(browser, errors)
    page.goto((tmp_path / "index.html").as_uri())
    assert page.get_by_text("No case is in the record yet.").is_visible()
    assert not errors


def test_several_targets_are_told_apart(browser: Any, tmp_path: Path, errors: list[str]) -> None:
    for name in ("linux", "lwip"):
        record = make_record(capture=None)
        record["target"] = {**record["target"], "name": name}
        save(tmp_path, record, [])
    make_report(tmp_path)
    page = opened(browser, errors)
    page.goto((tmp_path / "cases.html").as_uri())
    assert shown(page) == 2
    chooser(page, "Target").select_option("lwip")
    assert shown(page) == 1
    assert "lwip:" in page.locator("[data-is]:visible").inner_text()
    assert not errors


KEPT = ("linux", "smoltcp", "lwip", "gvisor", "pytcp", "uml")


def test_six_runs_stand_in_a_matrix(browser: Any, tmp_path: Path, errors: list[str]) -> None:
    """It is short and whole at 1280 px, and opens to what differs; names of runs and rows stay in sight."""
    page, folder = tmp_path / "compare.html", Path(__file__).parents[2] / "reports" / "baselines"
    make_comparison(page, compare([load(name, folder) for name in KEPT]), requirements())
    shown = opened(browser, errors, viewport={"width": 1280, "height": 800}, java_script_enabled=False)
    shown.goto(page.as_uri())
    assert shown.evaluate("document.documentElement.scrollHeight") <= 6_000
    assert shown.evaluate("document.documentElement.scrollWidth") <= 1280
    row = shown.locator("details.document > summary", has_text="RFC9293")
    assert row.locator(":scope > *").last.bounding_box()["x"] < 1200
    row.click()
    shown.locator("details.part:visible > summary").first.click()
    requirement = shown.locator("details.requirement:visible")
    differing = requirement.count()
    shown.locator("#rows").select_option("every")
    assert shown.locator("details.requirement:visible").count() > differing > 0
    shown.locator("#rows").select_option("differs")
    requirement.first.locator("summary").click()
    shown.mouse.wheel(0, 600)
    shown.wait_for_timeout(100)
    assert shown.locator(".heads").bounding_box()["y"] >= 0
    requirement.locator("a:visible").first.click()
    assert shown.locator("h3:target").is_visible(), "the reason, with the frames"
    assert not errors
