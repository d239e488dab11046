"""The formula of decoding: streams, their weighted sums, the presets of the literature, and their text form."""

from steer.guidance.algebra import (
    Context,
    Guidance,
    Mask,
    Stream,
    bare,
    base,
    domain,
    expert,
    negatives,
    prompt,
    tail,
)
from steer.guidance.formula import parse
from steer.guidance.presets import (
    PRESETS,
    cfg,
    coherence_boosting,
    context_aware,
    contrastive_decoding,
    dexperts,
    proxy_tuning,
    steer,
    steer_authors,
    steer_printed,
)

__all__ = [
    "PRESETS",
    "Context",
    "Guidance",
    "Mask",
    "Stream",
    "bare",
    "base",
    "cfg",
    "coherence_boosting",
    "context_aware",
    "contrastive_decoding",
    "dexperts",
    "domain",
    "expert",
    "negatives",
    "parse",
    "prompt",
    "proxy_tuning",
    "steer",
    "steer_authors",
    "steer_printed",
    "tail",
]
