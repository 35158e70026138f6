"""Texts of others, such as names, notes and reasons, for where they are shown: there they act on nothing."""

import re

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that control a terminal, break or reorder a line, or cannot be encoded. Tabs and newlines are left out."""

BREAKS = re.compile(r"[ \t]*(?:\r\n?|[\n\v\f\x85\u2028\u2029])[ \t]*|\t")
"""Ends of lines, with the spaces around them, and tabs."""

MARKDOWN = re.compile(
    r"""
    \\(?=[!-/:-@\[-`{-~]|$)     # a backslash that would escape what follows
    | [*`~$|]                   # emphasis, code, deleted text, formulas, cells of tables
    | (?<!\w)_+ | _+(?!\w)      # emphasis; inside a word _ is none
    | \](?=[(\[:])              # links, and the lines that they refer to
    | !(?=\[)                   # images
    | <(?=[A-Za-z/!?])          # HTML, and links in <>
    | &(?=\#?\w+;)              # entities
    | (?<!\S)\#+$               # the end of a heading
    """,
    re.VERBOSE,
)
"""What markdown takes for more than text. What means nothing where it stands is left alone."""

BLOCK = re.compile(r"[-+>#=:\[]|\d{1,9}[.)]")
"""What begins a list, a quotation, a heading, a rule, a definition or a box to tick, at the beginning of a line."""


def visible(text: str) -> str:
    """The text with control characters as pictures, such as ␛, or as �; newlines and tabs are kept."""
    return CONTROLS.sub(lambda found: _picture(ord(found[0])), text)


def one_line(text: str) -> str:
    """The text in one line without spaces at its ends, its control characters visible."""
    return visible(BREAKS.sub(" ", text)).strip()


def counted(n: int, noun: str) -> str:
    """A number with its noun: 1 run, 2 runs, 1,000 runs."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def markdown(text: str) -> str:
    """Markdown that shows the text as it is, for a heading or the cell of a table, or inside a line."""
    return MARKDOWN.sub(lambda found: "".join(f"\\{char}" for char in found[0]), one_line(text))


def markdown_line(text: str) -> str:
    """Markdown that shows the text as it is, for a paragraph or an item of a list."""
    line = markdown(text)
    begun = BLOCK.match(line)
    # Put a backslash before the character that makes it a list, a heading and so on, which is the last one.
    return f"{begun[0][:-1]}\\{line[begun.end() - 1 :]}" if begun else line


def code_block(text: str) -> str:
    """Markdown that shows the text as lines of code."""
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`+", text))])
    return f"{fence}\n{visible(text)}\n{fence}"


def _picture(code: int) -> str:
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else "�"
