"""From a key and a file to two answers side by side, in a browser."""

import json
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import GOOD_ROWS, Visit


def keep_a_file(page: Page, file: Path) -> None:
    page.get_by_label("Drop a file").set_input_files(file)
    expect(page.get_by_text("Every row is good.")).to_be_visible()
    page.get_by_role("button", name="Keep this file").click()
    expect(page.get_by_text("Kept as")).to_be_visible()


def log_in(visit: Visit) -> None:
    page = visit.open()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.get_by_label("API key").fill("tenon-" + "0" * 40)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert").filter(has_text="no valid key")).to_be_visible()
    page.get_by_label("API key").fill(visit.key)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Data", exact=True)).to_be_visible()


def see_a_fault(visit: Visit, file: Path) -> None:
    page = visit.page
    rows = [json.dumps(row) for row in GOOD_ROWS[:5]]
    file.write_text("\n".join([*rows[:2], '{"instruction": "Say 9", "output": 9}', *rows[2:]]))
    page.get_by_label("Drop a file").set_input_files(file)
    expect(page.locator(".faults li")).to_contain_text("line 3")
    expect(page.locator(".faults li")).to_contain_text("output")
    expect(page.get_by_text("One row has a fault")).to_be_visible()
    expect(page.get_by_role("button", name="Keep this file")).to_have_count(0)
    visit.picture("faults")


def keep_a_good_file(visit: Visit, file: Path) -> None:
    page = visit.page
    file.write_text(json.dumps(GOOD_ROWS))
    keep_a_file(page, file)
    page.get_by_role("link", name="see what a base makes of it").click()
    page.get_by_label("What a base makes of it").select_option("tiny-qwen")
    expect(page.get_by_role("img", name="Rows by their tokens")).to_be_visible()
    expect(page.locator("mark").filter(has_text="It is 0.")).to_be_visible()
    visit.picture("data")


def start_a_training(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("link", name="Train", exact=True).last.click()
    page.get_by_label("Base", exact=True).select_option("tiny-qwen")
    expect(page.get_by_label("Epochs")).to_have_attribute("placeholder", re.compile(r"\d"))
    page.get_by_label("Name of the adapter").fill("sayer")
    page.get_by_label("Epochs").fill("12")
    page.get_by_label("Batch size").fill("4")
    page.get_by_label("Batch size").press("Tab")
    expect(page.get_by_role("region", name="Plan")).to_contain_text("steps")
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    visit.picture("train")
    page.get_by_role("button", name="Start training").click()


def watch_it_to_its_report(visit: Visit) -> None:
    page = visit.page
    expect(page.get_by_role("img", name=re.compile("Loss by step"))).to_be_visible()
    expect(page.get_by_role("heading", name="Report")).to_be_visible(timeout=60_000)
    expect(page.locator(".legend")).to_contain_text("held-out loss")
    expect(page.locator(".badge").filter(has_text="succeeded")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="succeeded")).to_have_count(1)
    visit.picture("job")


def compare_answers(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("link", name="Try it in the playground").click()
    left, right = page.get_by_role("region", name="Left"), page.get_by_role("region", name="Right")
    expect(right.get_by_label("Model")).to_have_value("sayer")
    expect(left.get_by_label("Model")).to_have_value("tiny-qwen")
    page.get_by_label("Question").fill("Say 3")
    page.get_by_role("button", name="Ask both").click()
    expect(right.locator(".by")).to_contain_text("sayer@")
    expect(left.locator(".by")).to_contain_text("tiny-qwen")
    right.get_by_label("On base").select_option("tiny-gpt")
    page.get_by_role("button", name="Ask both").click()
    expect(right.get_by_role("alert")).to_contain_text("tiny-qwen")
    expect(right.get_by_role("alert")).to_contain_text("Serve the adapter on")
    visit.picture("playground")


def test_from_a_key_and_a_file_to_two_answers(visit: Visit, tmp_path: Path) -> None:
    visit.expect(400, 401)
    log_in(visit)
    see_a_fault(visit, tmp_path / "faulty.jsonl")
    keep_a_good_file(visit, tmp_path / "sayings.json")
    start_a_training(visit)
    watch_it_to_its_report(visit)
    compare_answers(visit)
