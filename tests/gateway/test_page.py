"""The page's files, read as text: nothing from outside, nothing inline, nothing missing."""

import gzip
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import gateway

FOLDER = Path(gateway.__file__).parent / "page"
FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())
MODULES = [path for path in FILES if path.suffix == ".js"]
SVG_NAMESPACE = "http://www.w3.org/2000/svg"
VOID = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "track",
    "wbr",
}
EVENT_NAMES = [
    "zone.entered",
    "zone.left",
    "dwell.recorded",
    "visit.started",
    "visit.ended",
    "shelf.looked",
    "shelf.picked",
    "shelf.returned",
    "shelf.retracted",
    "shelf.low",
    "shelf.empty",
    "tag.tapped",
    "tag.cloned",
    "queue.long",
    "agent.silent",
    "sensor.fault",
]
UNSAFE = [
    r"\binnerHTML\b",
    r"\bouterHTML\b",
    r"\binsertAdjacentHTML\b",
    r"\bdocument\.write",
    r"\bcreateContextualFragment\b",
    r"\bDOMParser\b",
    r"\beval\s*\(",
    r"\bnew Function\b",
    r"""setAttribute\([^,]*["']style["']""",
    r"\blocalStorage\b",
    r"\bdocument\.cookie\b",
    r"\bimport\s*\(",
]
ZONE_KINDS = [
    "entrance",
    "exit",
    "aisle",
    "shelf",
    "promo",
    "fitting",
    "service",
    "checkout",
    "queue",
    "staff",
    "outside",
]


class _Document(HTMLParser):
    """Collects elements, and the first thing that is not well nested."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.faults: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> at {self.getpos()} closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] in {"script", "style"} and data.strip():
            self.inline.append(data)


def _document() -> _Document:
    document = _Document()
    document.feed(_text(FOLDER / "index.html"))
    document.close()
    return document


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _code(path: Path) -> str:
    """Give a module without its comments and templates' words."""
    return re.sub(r"(?m)^\s*//.*$", "", _text(path))


def _values(name: str) -> list[str]:
    return [attributes[name] or "" for _, attributes in _document().elements if name in attributes]


def test_the_document_is_well_nested_with_unique_ids():
    document = _document()
    ids = _values("id")
    assert document.faults == []
    assert document.open == []
    assert sorted(set(ids)) == sorted(ids)
    assert _text(FOLDER / "index.html").startswith("<!doctype html>")


def test_the_document_has_no_inline_script_or_style():
    document = _document()
    assert document.inline == []
    for tag, attributes in document.elements:
        assert "style" not in attributes, tag
        assert [name for name in attributes if name.startswith("on")] == [], tag


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_names_anything_outside(path):
    text = _text(path).replace(SVG_NAMESPACE, "")
    assert re.findall(r"\b[a-z]+://\S*", text) == []
    assert re.findall(r"""(?:src|href|url|from)\s*[=(:]?\s*["']//""", text) == []
    assert re.findall(r"@import|@font-face|url\(", text) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_use_no_markup_sinks_and_no_stores(path):
    code = _code(path)
    assert [pattern for pattern in UNSAFE if re.search(pattern, code)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_say_what_they_are_and_stay_readable(path):
    lines = _text(path).splitlines()
    assert lines[0].startswith("// ")
    assert len(lines) <= 400
    assert [number for number, line in enumerate(lines, 1) if len(line) > 110] == []


def test_every_reference_exists_and_every_file_is_referenced():
    referenced = {Path(value).name for name in ("src", "href") for value in _values(name)}
    referenced = {name for name in referenced if not name.startswith("#")}
    for path in MODULES:
        imports = re.findall(r"""from "\./([\w.]+)";""", _text(path))
        assert len(imports) == len(re.findall(r"(?m)^import\b", _code(path)))
        referenced |= set(imports)
    assert {path.name for path in FILES} - {"index.html"} == referenced


def test_imported_names_are_exported():
    for path in MODULES:
        for names, module in re.findall(r'import \{([^}]*)\} from "\./([\w.]+)"', _text(path)):
            exported = set(re.findall(r"(?m)^export const (\w+)", _text(FOLDER / module)))
            wanted = {name.strip() for name in names.split(",") if name.strip()}
            assert set() == wanted - exported, f"{path.name} from {module}"


def test_the_page_is_light():
    packed = sum(len(gzip.compress(path.read_bytes(), 9, mtime=0)) for path in FILES)
    assert packed <= 150_000


def test_everything_the_scripts_look_up_is_in_the_document():
    wanted = {name for path in MODULES for name in re.findall(r'byId\("([\w-]+)"\)', _text(path))}
    assert wanted
    assert set() == wanted - set(_values("id"))


def test_references_within_the_document_hold():
    ids = set(_values("id"))
    for name in ("aria-labelledby", "aria-describedby"):
        for value in _values(name):
            assert set() == set(value.split()) - ids
    assert set() == {link[1:] for link in _values("href") if link.startswith("#")} - ids


def test_every_text_of_the_document_is_in_the_texts():
    texts = _text(FOLDER / "texts.js")
    keys = set(_values("data-text")) | set(_values("data-label"))
    keys |= {k for path in MODULES for k in re.findall(r"\btexts\.(?!js\b)(\w+)", _code(path))}
    assert len(keys) > 60
    assert sorted(key for key in keys if not re.search(rf"(?m)^  {key}:", texts)) == []


def test_no_text_is_left_over():
    texts = _text(FOLDER / "texts.js")
    known = set(re.findall(r"(?m)^  (\w+):", texts[texts.index("export const texts") :]))
    used = set(_values("data-text")) | set(_values("data-label"))
    used |= {k for path in MODULES for k in re.findall(r"\btexts\.(?!js\b)(\w+)", _code(path))}
    assert set() == known - used


@pytest.mark.parametrize("name", EVENT_NAMES)
def test_every_event_of_the_contract_has_a_sentence_and_a_kind(name):
    assert re.search(rf'"{name}": "[^"]+"', _text(FOLDER / "texts.js"))
    assert re.search(rf'"{name}": "(move|visit|shelf|alarm)"', _text(FOLDER / "events.js"))


@pytest.mark.parametrize("kind", ZONE_KINDS)
def test_every_kind_of_zone_has_a_word(kind):
    assert re.search(rf'(?m)^    {kind}: "', _text(FOLDER / "texts.js"))


def test_placeholders_of_sentences_are_known():
    sentences = re.findall(r'"[a-z.]+": "([^"]*\{[^"]*)"', _text(FOLDER / "texts.js"))
    wanted = {name for text in sentences for name in re.findall(r"\{(\w+)\}", text)}
    known = set(re.findall(r"(?m)^    (\w+): \(\) =>", _text(FOLDER / "events.js")))
    assert len(wanted) > 10
    assert set() == wanted - known


def test_the_page_can_be_used_without_eyes_or_mouse():
    elements = _document().elements
    assert [attributes["lang"] for tag, attributes in elements if tag == "html"] == ["en"]
    for tag, attributes in elements:
        if tag == "button":
            assert attributes["type"] == "button"
        if tag == "img":
            assert "alt" in attributes
    assert "img" in _values("role")
    assert "status" in _values("role")
    assert set(_values("aria-live")) == {"polite"}
    css = _text(FOLDER / "page.css")
    for rule in ("prefers-color-scheme: dark", "prefers-reduced-motion: reduce", ":focus-visible"):
        assert rule in css


def test_colours_of_the_style_sheet_are_all_defined():
    css = _text(FOLDER / "page.css")
    used = set(re.findall(r"var\((--[\w-]+)", css)) - {"--ratio"}
    defined = set(re.findall(r"(--[\w-]+):", css))
    assert used == defined


def test_day_and_night_define_the_same_scale():
    css = _text(FOLDER / "page.css")
    day, night = css.split("@media (prefers-color-scheme: dark)", 1)
    for level in [*range(6), "unknown"]:
        assert f"--level-{level}:" in day
        assert f"--level-{level}:" in night.split("}\n}", 1)[0]


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _palette(text: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", text))


@pytest.mark.parametrize("scheme", ["day", "night"])
def test_words_on_colours_can_be_read(scheme):
    """WCAG 2.2, 1.4.3: text against its ground at 4.5 or more."""
    css = _text(FOLDER / "page.css")
    day, night = css.split("@media (prefers-color-scheme: dark)", 1)
    colours = _palette(day.split("}", 1)[0])
    late = {"5"}
    if scheme == "night":
        colours |= _palette(night.split("}\n}", 1)[0])
        late = {"4", "5"}
    pairs = [("ink", "surface"), ("soft-ink", "surface"), ("soft-ink", "ground")]
    pairs += [("alarm", "alarm-ground"), ("accent", "surface")]
    for level in "012345":
        pairs.append(("on-level-5" if level in late else "on-level", f"level-{level}"))
    assert [pair for pair in pairs if _contrast(*(colours[name] for name in pair)) < 4.5] == []


@pytest.mark.parametrize("scheme", ["day", "night"])
def test_the_scale_goes_one_way(scheme):
    css = _text(FOLDER / "page.css")
    day, night = css.split("@media (prefers-color-scheme: dark)", 1)
    palette = _palette(day if scheme == "day" else night)
    steps = [_luminance(palette[f"level-{level}"]) for level in range(6)]
    assert steps == sorted(steps, reverse=scheme == "day")
    for here, there in zip(range(5), range(1, 6), strict=True):
        assert _contrast(palette[f"level-{here}"], palette[f"level-{there}"]) > 1.12


def test_the_icon_is_a_picture_without_script():
    root = ET.fromstring(_text(FOLDER / "favicon.svg"))
    assert f"{{{SVG_NAMESPACE}}}svg" == root.tag
    assert [node.tag for node in root.iter() if node.tag.endswith("script")] == []
