"""`python -m docs.check SITE`: fail if a page of the built site would load anything from another host."""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from re import findall

# Attributes from which a browser loads by itself; a link that a person follows is href of <a>.
LOADING = {"src", "srcset", "poster", "data", "action"}
LOADED_LINKS = {"stylesheet", "preconnect", "preload", "icon", "dns-prefetch", "modulepreload", "manifest"}


class _Loads(HTMLParser):
    """Collects the addresses of other hosts that a page loads from."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        loaded = [values[name] for name in LOADING & set(values)]
        if tag == "link" and LOADED_LINKS & set(values.get("rel", "").split()):
            loaded.append(values.get("href", ""))
        self.found += [one for one in loaded if "//" in one and not one.startswith("data:")]
        if "mermaid" in values.get("class", "").split():  # the theme's script gets the library that draws it
            self.found.append("mermaid")


def loads_from_other_hosts(site: Path) -> Iterator[str]:
    """A sentence for each address."""
    for page in sorted(site.rglob("*.html")):
        loads = _Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        yield from (f"{page} loads {address}" for address in loads.found)
    for style in sorted(site.rglob("*.css")):
        addresses = findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", style.read_text(encoding="utf-8"))
        yield from (f"{style} loads {address}" for address in addresses)


if __name__ == "__main__":
    sys.exit("\n".join(loads_from_other_hosts(Path(sys.argv[1]))) or None)
