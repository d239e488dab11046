"""--fail-under: scores that have to be met."""

from typing import Any

import typer

from steer.terminal import number


def gates_of(asked: list[str] | None) -> dict[str, float]:
    """Raises UsageError on what is no SCORE=VALUE, and ImportError where the score takes a package."""
    if not asked:
        return {}
    from steer.config import UsageError
    from steer.evaluate.catalogue import chosen

    gates = {}
    for one in asked:
        name, equals, value = one.rpartition("=")
        try:
            gates[name] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name or gates[name] != gates[name]:
            raise UsageError(f"--fail-under {one!r}: expected SCORE=VALUE, as in adversarial_auroc=0.8")
        try:
            chosen([name.partition("[")[0]])
        except ValueError as error:
            raise UsageError(f"--fail-under: {error}") from None
    return gates


def hold(gates: dict[str, float], metrics: dict[str, Any]) -> None:
    """Exit with 3 where a score is worse than it has to be, or not known."""
    from steer.config import UsageError

    failed = []
    for name, limit in gates.items():
        if name not in metrics["scores"]:
            raise UsageError(f"--fail-under {name}: it was not measured; there are {', '.join(metrics['scores'])}")
        score = metrics["scores"][name]
        value, above = score["value"], score["higher_is_better"]
        if value is None or (value < limit if above else value > limit):
            failed.append(f"{name} is {number(value)}, expected {'at least' if above else 'at most'} {limit:g}")
    if failed:
        typer.echo(f"steer: {'; '.join(failed)}", err=True)
        raise typer.Exit(3)
