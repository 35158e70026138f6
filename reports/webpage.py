"""Self-contained HTML pages: no network, no server, no other file."""

import hashlib
import re
from base64 import b64encode
from functools import cache
from io import BytesIO
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from harness.core.files import write_text
from harness.core.reading import png
from harness.core.text import visible
from harness.reports.columns import in_hours

TEMPLATES = Path(__file__).parent / "templates"


def write_page(path: Path, template: str, **content: object) -> None:
    """Write the page of a template; leave an existing file with the same bytes alone."""
    text = _environment().get_template(template).render(content)
    if not path.exists() or path.read_bytes() != text.encode():
        write_text(path, text, durable=False)


def embed(picture: bytes) -> Markup:
    """Return a PNG as a data URI; ValueError if it is none."""
    return _uri("png", png(picture))


def pack(picture: bytes) -> Markup:
    """Return a PNG as a lossless data URI, a third of its size; takes some hundredths of a second."""
    buffer = BytesIO()
    with Image.open(BytesIO(png(picture)), formats=["PNG"]) as image:
        image.save(buffer, "WEBP", lossless=True)
    return _uri("webp", buffer.getvalue())


def _uri(kind: str, content: bytes) -> Markup:
    return Markup(f"data:image/{kind};base64,{b64encode(content).decode()}")  # contains no character to escape


@cache
def _environment() -> Environment:
    """Environment of all pages: texts are escaped; a policy lets browsers run only our script and fetch nothing."""
    # Allow only our own style and script, by their hashes.
    style, *scripts = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js", "plot.js"))
    script = "\n".join(scripts)
    sources = {"img-src": "data:", "style-src": _source(style), "script-src": _source(script)}
    policy = {"default-src": "'none'", **sources, "base-uri": "'none'", "form-action": "'none'"}
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _with_code
    environment.filters["duration"] = lambda seconds: in_hours(seconds / 3600)
    environment.globals |= {
        "style": Markup(style),
        "script": Markup(script),
        "policy": "; ".join(f"{kind} {source}" for kind, source in policy.items()),
    }
    return environment


def _visible(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _with_code(text: str) -> Markup:
    """Return a text of a docstring as HTML; what stands between backticks is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(visible(text)))))


def _source(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
