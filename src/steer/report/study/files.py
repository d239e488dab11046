"""The win rates as files for others: LaTeX for a paper, CSV for a spreadsheet."""

import csv
import io
from collections.abc import Sequence

from steer.report.answers import joined
from steer.report.comparison.files import defused, escaped
from steer.report.study.rows import Row
from steer.report.study.voted import Group, Voted
from steer.report.study.words import asks, called, level, name, over

LONG = 24  # comparisons above which a table may break over pages
LABEL, HEAD = 48, 24  # characters of a line and of a column
COLUMNS = ("a", "b", "question", "group", "wins", "ties", "losses", "undecided", "annotators", "pairs")


def as_csv(found: Voted) -> str:
    """A line for each comparison, question and group; numbers in full, what is undefined is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = ["win_rate", "low", "high", "holds_for", "p", "adjusted_p", "adjusted_p_less", "stars", "design_effect"]
    heads += ["naive_low", "naive_high", "naive_z_p", "naive_binomial_p", "longer", "alpha", "kappa", "raw", "reason"]
    writer.writerow([*COLUMNS, *heads])
    for row in found.rows:
        cells = [getattr(row, column) for column in COLUMNS]
        cells += [row.rate.value, row.rate.low, row.rate.high, " and ".join(row.holds_for)]
        cells += [row.p, row.adjusted, row.less, row.stars, row.design_effect]
        cells += [row.naive.low, row.naive.high, row.z_p, row.binomial_p, row.longer]
        cells += [of.value if (of := row.agreement.get(one)) else None for one in ("alpha", "kappa", "raw")]
        writer.writerow([defused(cell) for cell in (*cells, row.rate.reason)])
    return out.getvalue()


def latex(found: Voted) -> str:
    """Groups beside each other; below each other the comparisons of each question, or the questions if there is one
    comparison. In booktabs; a table of many comparisons also needs longtable, and breaks over pages."""
    groups = found.ordered
    long = len(found.comparisons) * len(found.questions) > LONG
    heads = " & ".join(["", *(_head(found, group) for group in groups)]) + r" \\"
    frame = f"{{l{'r' * len(groups)}}}"
    caption = rf"\caption{{{escaped(_caption(found))}}}"
    body = "\n".join(_body(found, groups))
    if long:
        begin = [
            rf"\begin{{longtable}}{frame}",
            rf"{caption}\label{{tab:winrates}} \\",
            r"\toprule",
            heads,
            r"\midrule",
        ]
        begin += [r"\endfirsthead", r"\toprule", heads, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"]
        lines = ["% Needs \\usepackage{booktabs,longtable}.", r"{\small", *begin, body, r"\end{longtable}", "}"]
    else:
        begin = [r"\begin{table*}", r"\centering\small", caption, r"\label{tab:winrates}", rf"\begin{{tabular}}{frame}"]
        begin += [r"\toprule", heads, r"\midrule"]
        lines = ["% Needs \\usepackage{booktabs}.", *begin, body, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]
    return "\n".join([*lines, ""])


def _head(found: Voted, group: Group) -> str:
    size = f"{group.annotators} annotator{'s' * (group.annotators != 1)}"
    below = "" if group.judges else rf" \\ {{\scriptsize {size}}}"
    return rf"\shortstack[r]{{{escaped(called(found, group, HEAD))}{below}}}"


def _body(found: Voted, groups: Sequence[Group]) -> list[str]:
    single, lines = len(found.comparisons) == 1, []
    for k, question in enumerate(found.questions):
        asked = escaped(name(asks(found, question.name), LABEL))
        if not single:
            lines += [r"\midrule"] * bool(k)
            lines.append(rf"\multicolumn{{{len(groups) + 1}}}{{l}}{{\emph{{{asked}}}}} \\")
        for sets in found.comparisons:
            label = asked if single else escaped(name(sets[0] if found.rival else over(sets), LABEL))
            rows = [found.row(question.name, group.name, sets) for group in groups]
            below = any(row and row.rate.ends for row in rows)
            # No page ends between a rate and its interval.
            lines.append(" & ".join([label, *map(_rate, rows)]) + (r" \\*[-1pt]" if below else r" \\"))
            if below:
                lines.append(" & ".join(["", *map(_interval, rows)]) + r" \\[2pt]")
    return lines


def _rate(row: Row | None) -> str:
    if row is None or not row.rate.known:
        return "--"
    down = r"$^{\downarrow}$" if row.down else ""
    stars = f"$^{{{row.stars.replace('*', chr(92) + 'ast')}}}$" if row.stars else down
    return f"{100 * row.rate.value:.1f}{stars}"


def _interval(row: Row | None) -> str:
    return rf"{{\scriptsize {100 * row.rate.low:.1f}--{100 * row.rate.high:.1f}}}" if row and row.rate.ends else ""


def _caption(found: Voted) -> str:
    what = "of each set's texts over those of the other"
    if found.rival:
        what = f"of each set's texts over those of {name(found.rival)}"
    elif len(found.comparisons) == 1:
        a, b = found.comparisons[0]
        what = f"of the texts of {name(a)} over those of {name(b)}"
    judges = [name(group.name) for group in found.judging]
    said = (
        f"Win rates (%) {what}, ties counting half. Below each its {level(found)} interval for other annotators and "
        "other pairs, as far as there are several. Stars: preferred, one-sided p below .05, .01 and .001 after Holm, "
        "over the comparisons of a question and group, of the null that the rate is one half or less. An arrow down: "
        "preferred less, p below .05 by the same test the other way round."
    )
    return said + (f" Judged by a language model: {joined(judges)}." if judges else "")
