"""What the pages show beside their text: the repository's pictures, a report, the commands' help, and formulas.

`mkdocs` calls these functions. The report is that of runs/pages, where there is such a run:
scripts/sweep.sh sample:temple sample:swirls --out runs/pages
"""

import contextlib
import html
import io
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

from jaxstyle.app import cli

ROOT = Path(__file__).parents[2]
PICTURES = {f"images/{name}": ROOT / ".github" / name for name in ("sheet.png", "gallery.jpg", "report.png")}
REPORT = ROOT / "runs" / "pages" / "report.html"


def on_files(files: Any, config: Any) -> Any:
    """Add the pictures, and the report if there is one."""
    for name, path in {**PICTURES, **({"report.html": REPORT} if REPORT.is_file() else {})}.items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in the help of a command for {{ help NAME }}, and the report or a picture of it for {{ report }}."""
    live = '<iframe src="../report.html" title="A report" style="width: 100%; height: 50rem; border: 0"></iframe>'
    report = live if REPORT.is_file() else "![The report](images/report.png)"
    return re.sub(r"{{ help (.*?) }}", lambda found: _help(found[1]), markdown.replace("{{ report }}", report))


def on_page_content(content: str, **_: Any) -> str:
    r"""Make MathML of formulas, \(inline\) or \[displayed\], so that the pages need no script from elsewhere."""
    formula = re.compile(r'<(?:span|div) class="arithmatex">\\(.)(.*?)\\.</(?:span|div)>', re.DOTALL)
    displays = {"(": "inline", "[": "block"}
    return formula.sub(lambda found: convert(html.unescape(found[2]), display=displays[found[1]]), content)


def _help(command: str) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        cli.call([*command.split(), "--help"])
    return f"```text\n{text.getvalue()}```"
