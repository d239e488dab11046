"""Which requests of a batch are groups in step, and what becomes of those that are not.

A group is in step where all its roles are in the batch, each with the same number of tokens so far. The engine may
break that at any time: it preempts a row for want of memory, admits one a step later, or ends one at its own limit.
Such a group cannot go on, and must not pass for a text. The rule needs no memory of other steps and no channel:

    role 0 is ended at once by a stop token; every other role goes on with a token that is none, then ends by one.

Whoever gathers the rows accepts a group if all have the same ids and the same reason to finish. That is sound. Take
the first step at which a group is not whole. All rows then hold the same L tokens, as each step before gave one to
all. Those present are one or more roles, but not all. Row 0, now or whenever it comes next, gets a stop token at L. A
row that is not 0 gets another token at L, now or whenever it comes next. Neither can be undone, since the group is
never whole again: some row has more than L tokens or has ended, and one that was absent still has L. So position L
differs between row 0 and another one, whatever the order in which rows return, and also where L is the last that is
allowed. Rows that ended apart by their own limits have different lengths. A group of one role is always whole.
Ids of groups are used once only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from steer.scale.vllm.recipe import Recipe


@dataclass(slots=True)
class Member:
    """One request of a group. stop: a token that ends it; other: one that does not. astray: it was out of step.

    output: its tokens so far, where the engine shares them; they grow.
    """

    group: str
    role: int
    seed: int
    recipe: Recipe
    stop: int
    other: int
    output: Sequence[int] = ()
    astray: bool = False


@dataclass(slots=True)
class Together:
    """The groups in step that follow one recipe. rows: (G, n), seeds and steps: (G,), as lists."""

    names: list[str] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)


def sort_out(present: Iterable[tuple[int, Member, int]]) -> tuple[dict[Recipe, Together], list[tuple[int, int]]]:
    """present: row, member, and the number of its tokens so far -> the groups in step, by recipe; and for each row
    out of step the token that is forced on it."""
    groups: dict[str, list[tuple[int, Member, int]]] = {}
    for entry in present:
        groups.setdefault(entry[1].group, []).append(entry)
    whole: dict[Recipe, Together] = {}
    astray: list[tuple[int, int]] = []
    for name, entries in groups.items():
        if _in_step(entries):
            first, step = entries[0][1], entries[0][2]
            rows = [0] * len(entries)
            for row, member, _ in entries:
                rows[member.role] = row
            together = whole.setdefault(first.recipe, Together())
            together.names.append(name)
            together.rows.append(rows)
            together.seeds.append(first.seed)
            together.steps.append(step)
        else:
            for row, member, _ in entries:
                astray.append((row, member.stop if member.role == 0 or member.astray else member.other))
                member.astray = True
    return whole, astray


def _in_step(entries: list[tuple[int, Member, int]]) -> bool:
    _, first, step = entries[0]
    return len(entries) == len(first.recipe.weights) == len({member.role for _, member, _ in entries}) and all(
        member.recipe is first.recipe and s == step for _, member, s in entries
    )


def agreed(outputs: Sequence[tuple[Sequence[int], str | None]]) -> bool:
    """Whether the ids and the reason to finish of all rows are the same, so that they are one text."""
    return all(output == outputs[0] for output in outputs)
