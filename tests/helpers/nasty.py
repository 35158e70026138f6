"""Texts that mean something to terminals, markdown, HTML, LaTeX or spreadsheets, for what shows texts of others."""

from hypothesis import strategies as st

TEXTS = (
    "\x1b[31mred\x1b]0;title\x07",
    "\x9b2J and \x7f",
    "[/bold] a[red]b :smile:",
    "<script>alert(1)</script>",
    "<!-- <img src=x onerror=alert(1)>",
    "[here](javascript:alert(1)) ![x](http://example.org/x.png) <javascript:alert(1)>",
    "[x]: javascript:alert(1)",
    "# big\n\n## heading\n| a | b |\n|---|---|\n```\ncode",
    "\r\nline\rother\u2028third",
    "- item\n1. item\n> said\n===\n***\n___\n~~~",
    "**bold** _it_ __x__ *y* ~~gone~~ `code` $x^2$ a_b_c",
    "&lt;b&gt; &#60; &amp",
    "ends with \\",
    r"\| \[ \* \n \\",
    "a]b](c) ![d",
    r"$\nonsense{$ $$ $",
    "=cmd|'/c calc'!A1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    " ＝1",
    r"\input{x} \end{table} %$#_{}~^& \\[1cm]",
    "[1cm] starts so",
    "* so does this",
    "}{}\\cite{x}",
    '" onmouseover="alert(1)',
    "javascript:alert(1)//",
    "../../../etc/x",
    "\u202egnal\u2066x",
    "\x00",
    "",
    " ",
)
"""One of each kind, and some of several."""

LETTERS = "`*_[]()<>{}!#|\\\n\r\t $~&;:-+=@^%'\"/1.ab\x1b\x00\x07\x85\u2028\u202eé"

texts = st.sampled_from(TEXTS) | st.text(LETTERS, max_size=20) | st.text(max_size=20)
"""Any text, most of them nasty."""
