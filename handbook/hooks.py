"""Steps that mkdocs calls while it builds the site: further pages, and links between pages."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from handbook.reference import reference_pages
from handbook.sources import ROOT, WHOLE, source_pages, with_site_links


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Leaves out the page for errors of a server: its links hold at one address only."""
    config.theme.static_templates.discard("404.html")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the repository's own documents, the reference, and all files that documents name."""
    pages = dict(reference_pages())
    linked: set[str] = set()
    for place, address in WHOLE.items():
        pages[address], found = with_site_links((ROOT / place).read_text(encoding="utf-8"), place)
        linked |= found
    for file in files.documentation_pages():
        _, found = with_site_links(file.content_string, f"docs/{file.src_uri}")
        linked |= found
    for place in sorted(linked):
        pages |= source_pages(place)
    for address, text in pages.items():
        files.append(File.generated(config, address, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes links to files of the repository lead to pages of the site."""
    if page.file.generated_by:
        return markdown
    return with_site_links(markdown, f"docs/{page.file.src_uri}")[0]
