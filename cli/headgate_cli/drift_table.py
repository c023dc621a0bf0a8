"""The table that `headgate drift` prints for people: a line for each feature, or with --verbose for each window."""

from collections.abc import Sequence

from headgate_cli.drift_verdicts import Judged

Line = list[str]

_NOTE = (
    "KS: largest difference of cumulative shares; for categories half the sum of all differences. Drift where KS is "
    "beyond LIMIT\n(tolerance, sampling error of these rows and of the profile), or beyond the tolerance for long "
    "enough. UNSEEN: values that\nthe profile never saw. PSI and JS are shown, and decide nothing."
)


def text(names: Sequence[str], judged: Sequence[Judged], verbose: bool) -> str:
    """The whole output."""
    if verbose and len(names) > 1:
        lines = [["FEATURE", "WINDOW", *_NUMBERS, "VERDICT"]]
        for one in judged:
            verdicts = one.verdicts
            lines += [[one.name, name, *_numbers(one, [at], at), verdicts[at]] for at, name in enumerate(names)]
        return _aligned(lines, left=(0, 1, len(lines[0]) - 1))
    if len(names) == 1:
        lines = [["FEATURE", *_NUMBERS, "VERDICT"]]
        lines += [[one.name, *_numbers(one, [0], 0), one.verdict] for one in judged]
        return _aligned(lines, left=(0, len(lines[0]) - 1)) + "\n\n" + _NOTE
    lines = [["FEATURE", *_NUMBERS, "VERDICT", "ALARMS", "FIRST ALARM"]]
    for one in judged:
        worst = int(one.windows.distance.argmax())
        first = names[one.alarms[0]] if one.alarms else "-"
        told = [one.verdict, f"{len(one.alarms)} of {len(names)}", first]
        lines.append([one.name, *_numbers(one, range(len(names)), worst), *told])
    note = "\n\nKS, PSI, JS and LIMIT are those of the window with the largest KS; all of them: --verbose or --json.\n"
    width = len(lines[0])
    return _aligned(lines, left=(0, width - 3, width - 1)) + note + _NOTE


_NUMBERS = ("ROWS", "MISSING", "UNSEEN", "KS", "LIMIT", "PSI", "JS")


def _numbers(one: Judged, windows: Sequence[int], at: int) -> Line:
    counted = [one.windows.rows, one.missing, one.unseen]
    shown = [one.windows.distance, one.windows.limit, one.psi, one.js]
    return [f"{int(sum(c[w] for w in windows))}" for c in counted] + [f"{float(s[at]):.3f}" for s in shown]


def _aligned(lines: list[Line], left: Sequence[int]) -> str:
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
