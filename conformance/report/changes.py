"""Sort what changed since a baseline: new violations and errors, mended cases, and other differences."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from conformance.report.baseline import Baseline, Result
from conformance.report.text import NOTHING, VERDICTS, bounds, clean, count, seconds

LISTED = 20  # lines of one kind of change
BAD = ("violates", "error")
"""Verdicts that make a run fail."""
_BROKEN = (*BAD, "breaks should", "deviates")
_JUDGED = ("violates", "breaks should", "deviates", "conforms")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing of a case, or a setting of the target, that was one way and is another."""

    case: str
    then: str
    now: str
    what: str = "verdict"

    @property
    def line(self) -> str:
        """The change in one line."""
        thing = self.case if self.what in ("verdict", "setting") else f"{self.case}: {self.what}"
        return f"{thing}: {self.now}, was {self.then}"


@dataclass(slots=True)
class Changes:
    """The changes since a baseline, of the cases that ran.

    `as_before` counts those that were as bad then. `unjudged` are cases that were judged and do not apply now, `declared`
    those of them that the target's file accounts for. `inconclusive` are those that were judged and gave no verdict now,
    of which a run may have `most_inconclusive` (None: any number).
    """

    since: Baseline
    violations: list[Change] = field(default_factory=list)
    errors: list[Change] = field(default_factory=list)
    unjudged: list[Change] = field(default_factory=list)
    inconclusive: list[Change] = field(default_factory=list)
    declared: list[Change] = field(default_factory=list)
    settings_declared: Counter[str] = field(default_factory=Counter)
    most_inconclusive: int | None = None
    mended: list[Change] = field(default_factory=list)
    otherwise: list[Change] = field(default_factory=list)
    settings: list[Change] = field(default_factory=list)
    choices: list[Change] = field(default_factory=list)
    times: list[Change] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    compared: int = 0
    as_before: int = 0
    not_run: int = 0

    @property
    def too_many_inconclusive(self) -> bool:
        """Return True where more cases lost their verdict than a run may lose."""
        return self.most_inconclusive is not None and len(self.inconclusive) > self.most_inconclusive

    @property
    def worse(self) -> bool:
        """Return True where a case violates or ends in an error that did not, or where verdicts are lost."""
        return bool(self.violations or self.errors or self.unjudged or self.too_many_inconclusive)

    @property
    def lost(self) -> list[str]:
        """Return what is lost of the baseline's verdicts, a line for each kind."""
        lines = []
        if self.unjudged:
            lines.append(f"{count(len(self.unjudged), 'case')} no longer judged")
        if self.inconclusive:
            beyond = f", more than the {self.most_inconclusive} allowed" if self.too_many_inconclusive else ""
            lines.append(f"{count(len(self.inconclusive), 'case')} now inconclusive{beyond}")
        for setting, number in sorted(self.settings_declared.items()):
            lines.append(f"{count(number, 'case')} no longer judged, as the target's file declares: {setting}")
        return lines

    def groups(self) -> list[tuple[str, list[Change] | list[str]]]:
        """Return the changes by kind, the worst first."""
        return [
            ("new violations", self.violations),
            ("new errors", self.errors),
            ("no longer judged", self.unjudged),
            ("now inconclusive", self.inconclusive),
            ("other settings", self.settings),  # they may be why the rest is as it is
            ("mended", self.mended),
            ("other verdicts", self.otherwise),
            ("other choices", self.choices),
            ("no longer judged, as the target's file declares", self.declared),
            ("timers that drifted", self.times),
            ("added", self.added),
            ("gone", self.gone),
        ]


def changes(
    then: Baseline,
    now: Baseline,
    *,
    whole: bool,
    left_out: Collection[str] = (),
    most_inconclusive: int | None = None,
) -> Changes:
    """Return the changes from `then` to `now`.

    In a `whole` run (no selection), a case is gone if its module ran without it, unless it was `left_out`.
    """
    result = Changes(then, compared=len(then.cases.keys() & now.cases.keys()), most_inconclusive=most_inconclusive)
    result.settings += _settings(then.settings, now.settings)
    for case, new in sorted(now.cases.items()):
        old = then.cases.get(case)
        if old is None:
            result.added.append(case)
        if old is None or old.verdict != new.verdict:
            _sort_in(result, Change(case, old.verdict if old else "not there", new.verdict), new.declared)
        else:
            result.as_before += new.verdict in BAD
        if old is not None:
            result.choices += _choices(case, old, new)
            result.times += _times(case, old, new)
    modules = {_module(case) for case in now.cases}
    for case in sorted(then.cases.keys() - now.cases.keys()):
        if whole and case not in left_out and _module(case) in modules:
            result.gone.append(case)
        else:
            result.not_run += 1
    return result


def _module(case: str) -> str:
    return case.partition("::")[0]


def _sort_in(into: Changes, change: Change, declared: str) -> None:
    if change.then in _JUDGED and change.now == "not applicable":
        (into.declared if declared else into.unjudged).append(change)
        into.settings_declared.update([declared] if declared else ())
    elif change.then in _JUDGED and change.now == "inconclusive":
        into.inconclusive.append(change)
    elif change.now == "violates":
        into.violations.append(change)
    elif change.now == "error":
        into.errors.append(change)
    elif change.then in _BROKEN and change.now == "conforms":
        into.mended.append(change)
    elif change.then in VERDICTS:
        into.otherwise.append(change)


def _settings(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Change]:
    """Yield the target's settings that differ; none if a baseline recorded no settings at all."""
    for name in sorted(then.keys() | now.keys() if then and now else ()):
        if then.get(name) != now.get(name):
            yield Change(name, then.get(name, NOTHING), now.get(name, NOTHING), "setting")


def _choices(case: str, old: Result, new: Result) -> Iterator[Change]:
    for what, taken in new.choices.items():
        if old.choices.get(what, taken) != taken:
            yield Change(case, old.choices[what], taken, what)


def _times(case: str, old: Result, new: Result) -> Iterator[Change]:
    for what, time in new.times.items():
        if what in old.times and old.times[what].drifted(time):
            allowed = f"{seconds(time.measured_s)} (allowed: {bounds(time.low_s, time.high_s)})"
            yield Change(case, seconds(old.times[what].measured_s), allowed, what)


def as_lines(changes: Changes) -> list[str]:
    """Return the changes as lines of text."""
    since = changes.since
    lines = [
        f"since {since.name} ({since.target} {since.version}): {'worse' if changes.worse else 'nothing got worse'}",
        f"{count(changes.compared, 'case')} compared"
        + (f", {changes.as_before:,} as bad as before" if changes.as_before else "")
        + (f", {changes.not_run:,} of the baseline not run" if changes.not_run else ""),
        *changes.lost,
        *([f"of the baseline, {count(len(since.problems), 'line')} can't be read"] if since.problems else []),
    ]
    for title, group in changes.groups():
        lines += _listed(title, [entry if isinstance(entry, str) else entry.line for entry in group])
    return [clean(line) for line in lines]


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  and {len(lines) - LISTED:,} more"] if len(lines) > LISTED else []
    return ["", f"{title} ({len(lines):,}):", *(f"  {line}" for line in lines[:LISTED]), *more]
