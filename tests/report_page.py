"""A page of the report as elements and texts, for tests."""

from html.parser import HTMLParser

from metrics.report import write_report

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Elements of a page with their attributes and texts; refuses elements that are not properly nested."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", " ".join(data.split())))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(text for tag, text in self.texts if tag not in ("style", "script"))


def rendered(run):
    """The page that `write_report` writes into the run directory."""
    path = write_report(run)
    assert path == run / "report.html"
    return Page(path.read_text(encoding="utf-8"))
