"""The console in a browser: the whole way from a key and a file to two answers, and what holds on every page.

One file, so that all of it shares one suite.
"""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import GOOD_ROWS, HTML, PHONE, Visit, Visitor
from tests.support.suite import RunningSuite

PAGES = ("data", "train", "jobs", "adapters", "bases", "playground", "activity")


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
    page.get_by_role("row", name="sayings.json").get_by_role("link", name="Train").click()
    page.get_by_label("Base", exact=True).select_option("tiny-qwen")
    page.get_by_label("Name of the adapter").fill("sayer")
    page.get_by_label("Epochs").fill("12")
    page.get_by_label("Batch size").fill("4")
    page.get_by_label("Batch size").press("Tab")
    expect(page.get_by_label("LoRA rank")).to_have_attribute("placeholder", re.compile(r"\d"))
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
    page.get_by_text("System message and settings").click()
    page.get_by_label("Tokens at most").fill("24")
    page.get_by_text("System message and settings").click()
    page.get_by_label("Question").fill("Say 3")
    page.get_by_role("button", name="Ask both").click()
    expect(right.locator(".by")).to_contain_text("sayer@")
    expect(left.locator(".by")).to_contain_text("tiny-qwen")
    right.get_by_label("On base").select_option("tiny-gpt")
    page.get_by_role("button", name="Ask both").click()
    expect(right.get_by_role("alert")).to_contain_text("tiny-qwen")
    expect(right.get_by_role("alert")).to_contain_text("Serve the adapter on")
    expect(left.locator(".by")).to_have_count(2)
    visit.picture("playground")


def test_from_a_key_and_a_file_to_two_answers(visit: Visit, tmp_path: Path) -> None:
    visit.expect(400, 401)
    log_in(visit)
    see_a_fault(visit, tmp_path / "faulty.jsonl")
    keep_a_good_file(visit, tmp_path / "sayings.json")
    start_a_training(visit)
    watch_it_to_its_report(visit)
    compare_answers(visit)


def test_a_key_is_enough_and_no_mouse_is_needed(visit: Visit) -> None:
    visit.expect(401)
    page = visit.open("#/bases")
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type(visit.key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Bases")).to_be_focused()
    expect(page.get_by_role("heading", name="tiny-qwen")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="tiny-qwen")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    for _ in range(4):
        page.keyboard.press("Tab")
    focused = page.locator(":focus")
    expect(focused).to_have_text("Jobs")
    assert focused.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Jobs")).to_be_focused()
    expect(page.get_by_role("link", name="Jobs")).to_have_attribute("aria-current", "page")


def test_logging_out_ends_the_session(visit: Visit) -> None:
    visit.expect(401)
    page = visit.log_in()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(visit: Visit) -> None:
    page = visit.log_in()
    assert page.evaluate("document.cookie") == ""
    cookie = next(cookie for cookie in page.context.cookies() if cookie["name"] == "tenon_session")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert visit.key not in cookie["value"]


def test_html_in_names_and_answers_is_shown_as_text(visit: Visit, parrot: str, tmp_path: Path) -> None:
    file = tmp_path / f"{HTML}.json"
    file.write_text(
        json.dumps([{"instruction": f"{HTML} {n}", "input": "", "output": f"<b>{n}</b>"} for n in range(3)])
    )
    page = visit.log_in()
    page.get_by_label("Drop a file").set_input_files(file)
    page.get_by_role("button", name="Keep this file").click()
    page.get_by_role("link", name=f"{HTML}.json").click()
    expect(page.get_by_role("heading", name=f"{HTML}.json")).to_be_visible()
    page.get_by_label("What a base makes of it").select_option("tiny-qwen")
    expect(page.locator("mark").filter(has_text="<b>0</b>")).to_be_visible()
    visit.open(f"#/playground/{parrot}")
    page.get_by_label("Question").fill("Say 3")
    page.keyboard.press("Control+Enter")
    right = page.get_by_role("region", name="Right")
    expect(right.locator(".said.assistant")).to_have_text(HTML)
    assert page.locator("main img").count() == 0


def test_an_adapter_shows_where_it_comes_from_and_what_it_learned(visit: Visit, parrot: str) -> None:
    page = visit.log_in("#/adapters")
    page.get_by_role("link", name=parrot).click()
    lineage = page.get_by_role("group", name=re.compile("comes from"))
    for kind in ("data set", "base", "job", "version"):
        expect(lineage).to_contain_text(kind)
    expect(page.get_by_role("heading", name="Base beside adapter")).to_be_visible()
    expect(page.get_by_text(HTML).first).to_be_visible()
    visit.picture("adapter")
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="adapter_config.json").click()
    assert json.loads(Path(downloading.value.path()).read_text())["peft_type"] == "LORA"
    lineage.get_by_role("link", name="job").click()
    expect(page.get_by_role("img", name=re.compile("Loss by step"))).to_be_visible()
    expect(page.get_by_role("heading", name="Report")).to_be_visible()


def test_a_base_tells_who_needs_it(visit: Visit, parrot: str) -> None:
    page = visit.log_in("#/bases")
    card = page.get_by_role("region", name="tiny-qwen")
    expect(card.get_by_role("link", name=parrot)).to_be_visible()
    expect(page.get_by_role("region", name="tiny-gpt")).to_contain_text("none")


def test_what_others_need_is_not_deleted_and_they_are_named(visit: Visit, parrot: str) -> None:
    visit.expect(400)
    page = visit.log_in("#/bases")
    card = page.get_by_role("region", name="tiny-qwen")
    card.get_by_role("button", name="Delete tiny-qwen").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(card.get_by_role("alert")).to_have_count(0)
    card.get_by_role("button", name="Delete tiny-qwen").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(card.get_by_role("alert")).to_contain_text(f"adapters/{parrot}/versions/")
    visit.open(f"#/adapters/{parrot}")
    version = page.locator("details.version").first
    version.get_by_role("button", name=re.compile(f"Delete {parrot}@")).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(version.get_by_role("alert")).to_contain_text("aliases/latest")


def test_a_hopeless_plan_is_started_only_when_confirmed(visit: Visit, parrot: str) -> None:
    page = visit.log_in("#/train")
    file = page.get_by_label("Data", exact=True).locator("option", has_text="parrot.json").get_attribute("value")
    page.get_by_label("Data", exact=True).select_option(file)
    page.get_by_label("Name of the adapter").fill(parrot)
    page.get_by_label("Epochs").fill("1")
    page.get_by_label("Batch size").fill("12")
    page.keyboard.press("Tab")
    expect(page.get_by_text("too few steps")).to_be_visible()
    page.get_by_role("button", name="Start all the same…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("too few steps")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page).to_have_url(re.compile("#/train$"))
    page.get_by_role("button", name="Start all the same…").click()
    page.get_by_role("dialog").get_by_role("button", name="Train all the same").click()
    expect(page).to_have_url(re.compile("#/jobs/ftjob-"))
    expect(page.get_by_text("yes: the plan was hopeless")).to_be_visible()
    expect(page.get_by_text("not learned", exact=True)).to_be_visible()
    page.get_by_role("link", name="See the adapter").click()
    pass_the_gate_with_a_reason(visit)


def pass_the_gate_with_a_reason(visit: Visit) -> None:
    """Promote the version that has learned nothing, and roll back to the one that has."""
    visit.expect(400)
    page = visit.page
    latest = page.get_by_role("region", name="Aliases").get_by_role("row", name="parrot:latest")
    expect(latest).to_contain_text("gated")
    latest.get_by_role("button", name="Promote").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("NOT_LEARNED")
    dialog.get_by_label("Reason").fill(f"A trial {HTML}")
    dialog.get_by_role("button", name="Move it all the same").click()
    expect(latest).to_contain_text(f"A trial {HTML}")
    latest.get_by_role("button", name="Roll back").click()
    expect(latest).not_to_contain_text("A trial")
    expect(latest.get_by_role("button", name="Promote")).to_be_visible()


def test_a_job_is_paused_resumed_and_cancelled(visit: Visit, suite: RunningSuite, parrot: str) -> None:
    with suite.client() as client:
        file = next(file["id"] for file in client.get("/v1/files")["data"] if file["filename"] == "parrot.json")
        asked = {"model": "tiny-gpt", "training_file": file, "adapter": "slow", "hyperparameters": {"n_epochs": 900}}
        job = client.post("/v1/fine_tuning/jobs", asked)["id"]
    page = visit.log_in(f"#/jobs/{job}")
    state = page.locator(".row > .badge")
    expect(page.get_by_role("img", name=re.compile("Loss by step"))).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(state).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Resume")).to_have_count(0)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(state).to_have_text("cancelled")
    page.get_by_role("button", name=f"Delete {job}").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page).to_have_url(re.compile("#/jobs$"))
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    expect(page.get_by_text(job)).to_have_count(0)


def test_stop_ends_both_answers(visit: Visit, parrot: str) -> None:
    page = visit.log_in("#/playground")
    page.get_by_text("System message and settings").click()
    page.get_by_label("Tokens at most").fill("400")
    page.get_by_label("Question").fill("Say 3")
    page.get_by_role("region", name="Right").get_by_label("Model").select_option("tiny-gpt")
    page.get_by_role("button", name="Ask both").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Ask both")).to_be_enabled()
    expect(page.get_by_text("Stopped.").first).to_be_visible()


def test_the_audit_log_needs_admin_and_says_so(visit: Visit, suite: RunningSuite) -> None:
    page = visit.log_in("#/activity")
    expect(page.get_by_role("table")).to_contain_text("CreateBaseModel")
    made = json.loads(suite.tenon("key", "create", "--scope", "read", "--name", HTML, "--json").stdout)
    visit.key = made["secret"]
    visit.expect(403)
    visit.log_in("#/activity")
    page.reload()
    expect(page.get_by_text("for keys with the scope admin")).to_be_visible()


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_phone_shows_every_page_without_scrolling_sideways(visiting: Visitor, parrot: str, colours: str) -> None:
    with visiting(viewport=PHONE, color_scheme=colours) as visit:
        page = visit.log_in()
        for name in (*PAGES, f"adapters/{parrot}", f"playground/{parrot}"):
            visit.open(f"#/{name}")
            expect(page.locator(".page > *").first).to_be_visible()
            assert visit.fits(), name
        visit.picture(f"phone-{colours}")


def test_what_is_down_is_said_until_it_is_back(visit: Visit, suite: RunningSuite) -> None:
    visit.expect(503)
    page = visit.log_in("#/data")
    expect(page.get_by_role("heading", name="Files")).to_be_visible()
    suite.processes()["services.registry"].kill()
    page.get_by_role("link", name="Bases").click()
    banner = page.locator("#banner")
    expect(banner).to_contain_text("Down at the moment: registry")
    expect(page.get_by_role("heading", name="tiny-qwen")).to_be_visible()
    expect(banner).to_be_hidden()
