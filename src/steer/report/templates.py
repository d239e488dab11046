"""The templates, and what they make: everything in them escaped, and without what no page can hold."""

import re
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

# What XML cannot hold, even escaped, nor UTF-8: https://www.w3.org/TR/xml/#charsets
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(name: str, /, **values: object) -> str:
    return clean(template(name).render(**values))


@cache
def template(name: str) -> Template:
    return _environment().get_template(name)


def clean(markup: str) -> str:
    return FORBIDDEN.sub("\ufffd", markup)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("steer.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["count"] = lambda n: f"{n:,}"
    return made
