import copy
import csv
import io
import re

import numpy as np
import pytest
from PIL import Image as Picture

from mics.batch.listing import ListedPair
from mics.batch.table import PairOutcome, results_csv
from mics.report.review import Reviewed, review, write_review
from mics.report.thumbnail import write_thumbnail
from mics.run_summary import RunSummary

MARKUP = '<img src=x onerror="document.title=1">'


def jpeg():
    data = io.BytesIO()
    Picture.fromarray(np.full((20, 60, 3), 90, np.uint8)).save(data, format="jpeg")
    return data.getvalue()


@pytest.fixture
def pairs(full_summary):
    """Six pairs: verdicts in disorder, one that could not be registered, one whose names hold markup."""
    found = []
    for number, (word, dice) in enumerate(
        [("good", 0.9), ("failed", 0.2), ("look", 0.5), ("good", 0.7), ("look", 0.6)]
    ):
        summary = copy.deepcopy(full_summary)
        summary["verdict"]["word"] = word
        summary["labels"]["moving_to_fixed"]["mean_dice"] = dice
        name = MARKUP if number == 3 else f"m{number}"
        found.append(Reviewed("atlas", name, f"atlas_{name}", RunSummary.model_validate(summary), None, jpeg()))
    return [*found, Reviewed("atlas", "lost", "atlas_lost", None, f"{MARKUP} was cut short: copy it again.")]


def moving_in_order(text):
    return re.findall(r'<th scope="row" data-value="([^"]*?) onto', text)


def test_worst_first(pairs):
    assert [name for name in moving_in_order(review(pairs)) if name[0] != "&"] == ["lost", "m1", "m2", "m4", "m0"]


def test_names_with_markup_are_text_and_links_lead_to_the_folders(pairs):
    text = review(pairs)
    assert MARKUP not in text
    assert 'href="atlas_m1/report.html"' in text
    assert "/ward/" not in text  # no folder of the user's


def test_the_table_and_the_page_agree_with_the_summaries(pairs, full_summary):
    listed = [PairOutcome(ListedPair(pair.fixed, pair.moving, {}), pair.summary, pair.error) for pair in pairs]
    rows = list(csv.DictReader(io.StringIO(results_csv(listed))))
    assert [row["verdict"] for row in rows] == ["good", "failed", "look", "good", "look", ""]
    assert rows[5]["error"].startswith("<img")
    assert float(rows[0]["mean_dice"]) == 0.9
    assert float(rows[0]["dice_2"]) == full_summary["labels"]["moving_to_fixed"]["dice"]["2"]
    assert rows[0]["hd95_mm_2"] == ""
    assert float(rows[0]["inverse_error_max_mm"]) == 12


def test_a_thumbnail_shows_both_scans_and_nothing_left_where_they_agree(registration, tmp_path):
    registration.moving_warped = registration.fixed
    write_thumbnail(registration, tmp_path / "thumbnail.jpg")
    picture = np.asarray(Picture.open(tmp_path / "thumbnail.jpg")).astype(int)
    width = (picture.shape[1] - 6) // 3
    fixed, warped, left = (picture[:, i * (width + 3) :][:, :width] for i in range(3))
    assert abs(fixed - warped).mean() < 6
    grey = np.abs(left - left.mean(axis=2, keepdims=True)).max(axis=2) < 12
    assert np.percentile(np.abs(left[grey].mean(axis=1) - 127), 80) < 48


def test_in_a_browser(browser, pairs, tmp_path):
    write_review(pairs, tmp_path / "review.html")
    browser._ask("POST", "/url", {"url": (tmp_path / "review.html").as_uri()})
    browser.settle()
    first = (
        "return [...document.querySelectorAll('#pairs tbody tr:not([hidden])')].map(row => row.cells[1].textContent)"
    )
    shown = browser.run(first)
    assert shown[0] == "lost onto atlas"
    assert f"{MARKUP} onto atlas" in shown
    assert browser.run("return document.querySelectorAll('img[src=x]').length") == 0
    assert browser.run("return document.title").startswith("Registrations")
    # Every picture is shown.
    assert browser.run("return [...document.images].every(image => image.naturalWidth === 60)")

    def click(selector):
        browser.run("document.querySelector(arguments[0]).click()", selector)
        browser.settle()

    column = "#pairs thead th:nth-child(4) button"
    click(column)
    assert browser.run("return document.querySelector('#pairs thead th:nth-child(4)').textContent") == "Mean Dice"
    assert browser.run(first)[0] == "m1 onto atlas"
    click(column)
    assert browser.run(first)[0] == "m0 onto atlas"
    assert browser.run(first)[-1] == "lost onto atlas"  # what is not known stays last
    assert browser.run("return document.querySelector('#pairs thead th:nth-child(4)').ariaSort") == "descending"
    click(".count.look")
    assert browser.run(first) == ["m4 onto atlas", "m2 onto atlas"]
    # A dot leads to its row, though it was left out.
    dot = browser._ask("POST", "/element", {"using": "css selector", "value": "svg a.failed"})
    browser._ask("POST", f"/element/{next(iter(dot.values()))}/click", {})
    browser.settle()
    assert len(browser.run(first)) == 6
    assert browser.run("return document.querySelector(':target').cells[1].textContent") == "m1 onto atlas"
    for theme, dark in (("dark", True), ("light", False)):
        browser.prefer(theme)
        colour = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", colour))) < 200) is dark
    for width in (1400, 400):
        browser.resize(width, 800)
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    browser.resize(1400, 900)
    assert browser.complaints() == []
