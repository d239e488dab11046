"""Would a person prefer it? Blind pairwise studies: pairs of texts, the people and models who judge them, and what the
votes say.

    create -> serve, judge -> score
"""

from importlib.util import find_spec


def needs(*modules: str) -> None:
    """Raises ImportError that names the extra where one of these cannot be imported."""
    if any(find_spec(module) is None for module in modules):
        raise ImportError("steer study serve needs: pip install 'steer-text[study]'")
