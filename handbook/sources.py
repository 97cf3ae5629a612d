"""Files and folders of the repository that documents link to, as pages of the site."""

from __future__ import annotations

import ast
import re
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
WHOLE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
}
"""Documents outside of docs/ that are pages of the site, and their addresses."""
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)(#[\w-]+)?(?=\))")
_LANGUAGES = {".py": "python", ".mjs": "javascript", ".yaml": "yaml", ".toml": "toml"}


def address(place: str) -> str:
    """The page in the site of a path in the repository, which may be a folder."""
    if place in WHOLE:
        return WHOLE[place]
    if place == "docs" or place.startswith("docs/"):
        inside = place.removeprefix("docs").lstrip("/")
        return f"{inside}/index.md" if (ROOT / place).is_dir() else inside
    return f"source/{place}/index.md" if (ROOT / place).is_dir() else f"source/{place}.md"


def with_site_links(text: str, place: str) -> tuple[str, set[str]]:
    """A document with links between pages, and the paths outside of docs/ that it links to.

    `place`: path of the document in the repository.
    """
    sources = set()

    def replaced(link: re.Match[str]) -> str:
        target = _joined(PurePosixPath(place).parent, link[1])
        if not (ROOT / target).exists():
            return link[0]
        if target not in WHOLE and not target.startswith("docs"):
            sources.add(target)
        return _relative(address(target), address(place)) + (link[2] or "")

    return _LINK.sub(replaced, text), sources


def source_pages(place: str) -> dict[str, str]:
    """Pages of a file, or of a folder and of all text files in it, by their address."""
    path = ROOT / place
    if path.is_file():
        return {address(place): _file_page(path, place)}
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and _is_text(file) and "__pycache__" not in file.parts
    ]
    pages = {}
    lines = []
    for file in files:
        name = file.relative_to(path).as_posix()
        pages[address(f"{place}/{name}")] = _file_page(file, f"{place}/{name}")
        lines.append(f"- [{name}]({name}.md){_summary(file)}\n")
    return pages | {address(place): f"# {place}/\n\n{''.join(lines)}"}


def _is_text(file: Path) -> bool:
    return file.suffix in {*_LANGUAGES, ".txt"}


def _file_page(file: Path, place: str) -> str:
    text = file.read_text(encoding="utf-8")
    fence = "`" * (1 + max(map(len, re.findall(r"`{3,}", text)), default=2))
    return f"# {place}\n\n{fence}{_LANGUAGES.get(file.suffix, '')}\n{text.rstrip()}\n{fence}\n"


def _summary(file: Path) -> str:
    if file.suffix != ".py":
        return ""
    documented = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return f": {documented.splitlines()[0]}" if documented else ""


def _joined(folder: PurePosixPath, link: str) -> str:
    parts: list[str] = []
    for part in (*folder.parts, *PurePosixPath(link).parts):
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _relative(target: str, page: str) -> str:
    ours, theirs = target.split("/"), page.split("/")[:-1]
    shared = 0
    while shared < min(len(ours) - 1, len(theirs)) and ours[shared] == theirs[shared]:
        shared += 1
    return "/".join([".."] * (len(theirs) - shared) + ours[shared:])
