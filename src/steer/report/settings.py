"""What decided this run: data, versions, weights and time taken, for whoever wants to check or repeat it."""

from dataclasses import dataclass

from steer.report.stored import Stored

STAGES = {
    "data": "reading and dividing the data",
    "domain": "fine-tuning",
    "synthetic": "writing the synthetic texts",
    "baseline": "drawing the rival's texts",
    "metrics": "measuring",
}


@dataclass(frozen=True)
class SettingsView:
    """Rows of (name, value). dropped: reason -> how many rows of the data were left out for it."""

    data_hash: str | None
    dropped: list[tuple[str, int]]
    versions: list[tuple[str, str]]
    weights: list[tuple[str, str]]
    timings: list[tuple[str, str]]


def settings_view(stored: Stored) -> SettingsView:
    manifest = stored.manifest
    data = manifest.get("data", {})
    timings = manifest.get("timings", {})
    return SettingsView(
        data_hash=data.get("sha256"),
        dropped=[(reason, n) for reason, n in data.get("dropped", {}).items() if n],
        versions=list(manifest.get("versions", {}).items()),
        weights=list(manifest.get("weights", {}).items()),
        timings=[(words, duration(timings[stage])) for stage, words in STAGES.items() if stage in timings],
    )


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
