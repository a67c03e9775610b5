"""The page of a label review, and what is read back from it."""

import csv
import io
from html.parser import HTMLParser

import pytest

from mics.errors import InputError
from mics.pseudo_labels.label_review import COLUMNS, LabelReview, read_reviews
from mics.pseudo_labels.page import Card, write_page
from mics.pseudo_labels.rank import Plausibility


class Page(HTMLParser):
    """Pictures in order, and each choice with its case, organ, options and comment."""

    def __init__(self, text):
        super().__init__()
        self.pictures, self.choices, self.chosen, self.comments, self.text = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "img":
            self.pictures.append(values["src"])
        elif tag == "select":
            self.choices.append((values["data-case"], values["data-organ"]))
            self.selected = False
        elif tag == "option":
            self.selected = "selected" in values
        elif tag == "input":
            self.comments.append(values["value"])

    def handle_data(self, data):
        if getattr(self, "selected", False) and self.lasttag == "option":
            self.chosen.append(data)
        self.text += data


@pytest.fixture
def cards():
    bad, good = (
        Plausibility(0.1, {"volume": 0.1, "position": 1.0}),
        Plausibility(0.8, {"volume": 0.9, "position": 0.89}),
    )
    return [Card('a "<case>"', "pictures/a.png", [(11, bad), (6, good)]), Card("b", "pictures/b.png", [(6, good)])]


def test_every_case_and_organ_has_a_choice_in_the_order_given(cards, tmp_path):
    reviews = {("b", 6): LabelReview(False, 'leaks "out"'), ("b", 0): LabelReview(True, "")}
    page = Page(write_page(cards, reviews, tmp_path).read_text(encoding="utf-8"))
    assert page.pictures == ["pictures/a.png", "pictures/b.png"]
    assert page.choices == [
        ('a "<case>"', ""),
        ('a "<case>"', "pancreas"),
        ('a "<case>"', "liver"),
        ("b", ""),
        ("b", "liver"),
    ]
    assert page.comments == ["", "", "", "", 'leaks "out"']
    assert [word for word in page.chosen if word] == ["keep", "reject"]
    assert "volume 0.10" in page.text
    assert [path.name for path in tmp_path.iterdir()] == ["review.html"]


def saved(rows):
    """As the page's button writes it: every cell quoted."""
    text = io.StringIO()
    text.write(",".join(COLUMNS) + "\n")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return text.getvalue()


def test_reviews_are_read(tmp_path):
    path = tmp_path / "verdicts.csv"
    assert read_reviews(path, {"a"}) == {}
    path.write_text(saved([("a", "liver", "reject", "leaks, badly"), ("a", "", "keep", ""), ("b", "", "reject", "")]))
    assert read_reviews(path, {"a", "b"}) == {
        ("a", 6): LabelReview(False, "leaks, badly"),
        ("a", 0): LabelReview(True, ""),
        ("b", 0): LabelReview(False, ""),
    }
    path.write_text("\ufeffcase,organ,verdict\r\na,liver,keep\r\n", encoding="utf-8")  # by a spreadsheet
    assert read_reviews(path, {"a"}) == {("a", 6): LabelReview(True, "")}


@pytest.mark.parametrize(
    "row", [("nobody", "liver", "reject", ""), ("a", "lever", "reject", ""), ("a", "liver", "no", ""), ("a",)]
)
def test_a_review_that_means_nothing_is_refused_with_its_line(tmp_path, row):
    path = tmp_path / "verdicts.csv"
    path.write_text(saved([("a", "liver", "keep", ""), row]))
    with pytest.raises(InputError, match=r"verdicts\.csv, line 3"):
        read_reviews(path, {"a"})
    path.write_text("who,what\n")
    with pytest.raises(InputError, match="must have the columns"):
        read_reviews(path, {"a"})


def test_capitals_do_not_count_and_two_verdicts_on_one_organ_are_refused(tmp_path):
    path = tmp_path / "verdicts.csv"
    path.write_text("case,organ,verdict,comment\na,Liver,Reject,\na,liver,reject,again\na,,KEEP,\n")
    assert {subject: review.keep for subject, review in read_reviews(path, {"a"}).items()} == {
        ("a", 6): False,
        ("a", 0): True,
    }
    path.write_text("case,organ,verdict,comment\na,liver,reject,\na,liver,keep,\n")
    with pytest.raises(InputError, match="line 3: the liver of a is to be kept and rejected"):
        read_reviews(path, {"a"})
