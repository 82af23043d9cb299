"""Who gets how much of the steps, and who waits how long."""

import pytest

from tests.unit.inference.batched.desk import CountingRoom, Desk


def shares(desk: Desk, seconds: float, *, keep: int = 40) -> dict[tuple[str, str | None], int]:
    """Tokens that each queue got while all that asked at the beginning had more rows waiting than there was room for."""
    queues = [(row.request.project, row.request.adapter) for row in desk.live]
    before = desk.served.copy()
    until = desk.clock.now + seconds
    while desk.clock.now < until:
        live = [(row.request.project, row.request.adapter) for row in desk.live]
        for project, adapter in dict.fromkeys(queues):
            for _ in range(keep - live.count((project, adapter))):
                desk.ask(prompt=10, answer=30, project=project, adapter=adapter)
        desk.step()
    return {queue: desk.served[queue] - before[queue] for queue in dict.fromkeys(queues)}


class TestFairness:
    def test_what_is_charged(self) -> None:
        """Prompt tokens that were computed, once, and each token of the answer twice."""
        desk = Desk(CountingRoom(1000, remembers=True))
        desk.ask(prompt=700, answer=2, adapter="a")
        endless = desk.ask(prompt=1, answer=900, adapter="b")
        desk.run(until=lambda: len(desk.done) == 1)
        desk.ask(prompt=700, answer=2, adapter="a")
        desk.run(until=lambda: len(desk.done) == 2)
        (project,) = desk.scheduler._queues._projects._parties.values()
        served = {name: queue.served for name, queue in project.queues._parties.items()}
        assert served["b"] == 1 + 2 * endless.answered
        # The last token of a prompt is always computed.
        assert project.served == served["b"] + 700 + 2 * 2 + 1 + 2 * 2

    def test_first_in_first_out_within_an_adapter(self) -> None:
        desk = Desk(max_rows=1)
        rows = [desk.ask() for _ in range(4)]
        desk.run()
        assert sorted(rows, key=desk.done.__getitem__) == rows

    def test_adapters_take_turns_however_many_rows_each_has_waiting(self) -> None:
        desk = Desk(max_rows=1)
        busy = [desk.ask(adapter="busy") for _ in range(10)]
        light = [desk.ask(adapter="light") for _ in range(2)]
        desk.run()
        ended = sorted(desk.done, key=desk.done.__getitem__)
        assert [ended.index(row) for row in light] == [1, 3]
        assert ended.index(busy[9]) == 11

    def test_the_base_alone_takes_its_turn_as_an_adapter_does(self) -> None:
        desk = Desk(max_rows=1)
        for _ in range(5):
            desk.ask(adapter="busy")
        base = desk.ask()
        desk.run()
        assert sorted(desk.done, key=desk.done.__getitem__).index(base) == 1

    @pytest.mark.parametrize("max_rows", [1, 6, 64])
    def test_three_projects_get_the_same_however_many_adapters_they_have(self, max_rows: int) -> None:
        desk = Desk(max_rows=max_rows)
        for project, adapters in (("one", "a"), ("two", "bcd"), ("three", "efghij")):
            for adapter in adapters:
                desk.ask(prompt=10, answer=30, project=project, adapter=adapter)
        got = shares(desk, 60.0)
        projects = [sum(n for (name, _), n in got.items() if name == project) for project in ("one", "two", "three")]
        assert min(projects) > 0.9 * max(projects) > 0
        within = [n for (name, _), n in got.items() if name == "three"]
        assert min(within) > 0.8 * max(within)

    def test_long_prompts_count(self) -> None:
        desk = Desk(max_rows=4)
        for _ in range(200):
            desk.ask(prompt=200, answer=10, adapter="long prompts")
            desk.ask(prompt=10, answer=10, adapter="short ones")
        desk.run(until=lambda: len(desk.done) >= 100)
        assert desk.served["", "short ones"] > 5 * desk.served["", "long prompts"]

    def test_prompts_that_are_known_do_not(self) -> None:
        desk = Desk(CountingRoom(remembers=True), max_rows=4)
        for _ in range(200):
            desk.ask(prompt=200, answer=10, adapter="known")
            desk.ask(prompt=1, answer=10, adapter="short")
        desk.run(until=lambda: len(desk.done) >= 200)
        assert desk.served["", "known"] > 0.7 * desk.served["", "short"]

    def test_a_newcomer_starts_level_and_not_with_all_the_turns_it_did_not_take(self) -> None:
        desk = Desk(max_rows=2)
        old = [desk.ask(adapter="old") for _ in range(400)]
        desk.run(until=lambda: len(desk.done) >= 200)
        for _ in range(100):
            desk.ask(adapter="new")
        desk.run(until=lambda: len(desk.done) >= 300)
        assert sum(row in desk.done for row in old) == pytest.approx(250, abs=4)

    def test_nor_beside_one_that_has_nothing_waiting(self) -> None:
        desk = Desk(max_rows=4)
        for _ in range(4):
            desk.ask(adapter="old", answer=100)
        desk.run(until=lambda: desk.steps == 95)
        new = [desk.ask(adapter="new") for _ in range(40)]
        for _ in range(40):
            desk.ask(adapter="old")
        desk.run(until=lambda: len(desk.done) >= 4 + 20)
        assert 8 <= sum(row in desk.done for row in new) <= 12

    def test_who_ran_one_row_for_long_saved_up_nothing(self) -> None:
        desk = Desk(max_rows=4)
        desk.ask(adapter="quiet", answer=4000)
        old = [desk.ask(adapter="old") for _ in range(600)]
        desk.run(until=lambda: len(desk.done) >= 300)
        for _ in range(200):
            desk.ask(adapter="quiet")
        desk.run(until=lambda: len(desk.done) >= 400)
        assert sum(row in desk.done for row in old) > 340

    def test_who_had_more_does_not_get_rid_of_it_by_leaving(self) -> None:
        desk = Desk(max_rows=1)
        others = [desk.ask(adapter=name) for name in "abc" for _ in range(100)]
        serial, ended = None, 0
        while sum(row in desk.done for row in others) < 90:
            if serial is None or serial in desk.done:
                ended += serial is not None
                serial = desk.ask(prompt=400, adapter="serial")
            desk.step()
        assert ended <= 6

    def test_names_are_not_kept_for_ever(self) -> None:
        desk = Desk(max_rows=2)
        for number in range(3000):
            desk.ask(adapter="always", answer=2)
            desk.ask(adapter=str(number), answer=1)
            desk.step()
        desk.run()
        assert desk.scheduler._queues._projects._parties == {}
        for number in range(3000):
            while desk.scheduler.waiting < 2:
                desk.ask(adapter="always", answer=2)
            desk.ask(adapter=str(number), answer=1)
            desk.step()
            desk.run(until=lambda: desk.scheduler.waiting < 5)
        (project,) = desk.scheduler._queues._projects._parties.values()
        assert len(project.queues._parties) < 300


def busy_desk(*, remembers: bool = False) -> Desk:
    """All places are taken by a busy adapter with long answers, and more of its rows wait."""
    desk = Desk(CountingRoom(remembers=remembers), max_rows=8)
    for _ in range(20):
        desk.ask(answer=3000, adapter="busy", project="one")
    desk.run(until=lambda: desk.clock.now > 5)
    return desk


class TestPatience:
    @pytest.mark.parametrize("project", ["one", "two"])
    def test_nobody_waits_for_a_whole_long_answer_of_another(self, project: str) -> None:
        desk = busy_desk()
        light = desk.ask(adapter="light", project=project)
        desk.run(until=lambda: light in desk.done)
        assert 0.5 <= desk.first_token[light] - light.arrived < 0.6
        assert desk.log.preemptions == 1

    def test_nor_for_the_memory_of_another(self) -> None:
        desk = Desk(CountingRoom(1000))
        for _ in range(3):
            desk.ask(prompt=250, answer=60, adapter="busy")
        desk.run(until=lambda: desk.clock.now > 0.65)
        assert desk.scheduler.running == 3
        light = desk.ask(prompt=400, answer=10, adapter="light")
        desk.run(until=lambda: light in desk.first_token)
        assert desk.log.preemptions <= 1

    def test_memory_that_is_given_up_is_for_who_asked_for_it(self) -> None:
        desk = Desk(CountingRoom(600), max_rows=16)
        for _ in range(12):
            desk.ask(prompt=100, answer=400, adapter="busy")
        desk.run(until=lambda: desk.clock.now > 1.2)
        light = desk.ask(prompt=300, adapter="light")
        asked = desk.clock.now
        desk.run(until=lambda: light in desk.room.used)
        assert desk.clock.now - asked < 1.0

    def test_memory_that_nobody_uses_needs_nobody_to_go(self) -> None:
        desk = Desk(CountingRoom(100))
        for _ in range(2):
            desk.ask(prompt=30, answer=68, adapter="busy")
        desk.run(until=lambda: desk.log.preemptions == 1)
        light = desk.ask(prompt=2, answer=2, adapter="light")
        asked = desk.clock.now
        desk.scheduler._patience = 0.1
        desk.run(until=lambda: light in desk.done)
        assert desk.clock.now - asked < 0.15
        assert desk.log.preemptions == 1

    def test_the_cheapest_of_the_most_served_makes_way(self) -> None:
        desk = Desk(max_rows=6)
        for adapter, prompt in [("a", 5), ("b", 100), ("b", 20), ("b", 60), ("b", 90), ("a", 5)]:
            desk.ask(prompt=prompt, answer=1000, adapter=adapter)
        rows = list(desk.live)
        desk.run(until=lambda: desk.clock.now > 1)
        light = desk.ask(adapter="light", project="two")
        desk.run(until=lambda: light in desk.room.used)
        assert [row for row in rows if row not in desk.room.used] == [rows[2]]

    def test_the_batch_is_not_emptied_for_a_row_that_lacks_something_else(self) -> None:
        desk = busy_desk()
        refusing = desk.ask(prompt=4, answer=4, adapter="refused")
        really, desk.room.open = desk.room.open, lambda row: row is not refusing and really(row)  # type: ignore[method-assign]
        desk.run(until=lambda: desk.clock.now > 20)
        assert desk.log.preemptions <= 1
        assert desk.scheduler.running >= 7

    def test_places_change_hands_no_more_often_than_they_must(self) -> None:
        desk = busy_desk()
        for name in "abc":
            desk.ask(adapter=name, answer=3000, project="one")
        desk.run(until=lambda: desk.clock.now > 15)
        # Each got its place, of which it has one; nobody is owed any more.
        assert desk.log.preemptions == 3
        assert desk.prefilled < 20 * 4 + 3 * 1500

    def test_who_has_nothing_above_its_share_keeps_it(self) -> None:
        desk = Desk(max_rows=2)
        for name in "abcd":
            desk.ask(adapter=name, answer=200)
        desk.run()
        assert desk.log.preemptions == 0

    def test_but_not_for_ever(self) -> None:
        desk = Desk(max_rows=2)
        rows = [desk.ask(adapter=name, answer=6000) for name in "abc"]
        desk.run(until=lambda: all(row.answered for row in rows))
        assert desk.clock.now < 12
        desk.run(until=lambda: desk.clock.now > 40)
        assert desk.log.preemptions <= 2 * 40 / 10

    def test_a_row_that_was_just_admitted_is_not_preempted_for_others(self) -> None:
        desk = Desk(max_rows=4)
        for _ in range(8):
            desk.ask(answer=1000, adapter="busy")
        desk.step()
        light = desk.ask(adapter="light")
        light.arrived -= 10
        desk.scheduler._waiting[light].since -= 10
        desk.run(until=lambda: light in desk.first_token)
        assert 0.5 <= desk.clock.now < 0.6

    def test_nor_before_it_was_worth_its_prompt(self) -> None:
        desk = Desk(max_rows=2)
        for _ in range(4):
            desk.ask(prompt=2000, answer=1000, adapter="busy")
        desk.run(until=lambda: len(desk.first_token) == 1)
        begun = desk.clock.now
        light = desk.ask(adapter="light")
        desk.run(until=lambda: light in desk.first_token)
        assert desk.clock.now - begun > 2 * begun > 1.5

    @pytest.mark.parametrize(
        ("remembers", "keeps"), [(True, 0.85), (False, 0.7)], ids=["prefixes kept", "computed again"]
    )
    def test_light_adapters_beside_a_busy_one_cost_it_little(self, remembers: bool, keeps: float) -> None:
        """Ten seconds beside somebody who asks for a short answer now and then, a bit faster than patience."""
        alone, beside = busy_desk(remembers=remembers), busy_desk(remembers=remembers)
        for desk in (alone, beside):
            while desk.clock.now < 15:
                if desk is beside and desk.steps % 40 == 0:
                    desk.ask(adapter="light", project="two", answer=4)
                desk.step()
        busy = ("one", "busy")
        assert beside.served[busy] > keeps * alone.served[busy]
        waits = [at - row.arrived for row, at in beside.first_token.items() if row.request.project == "two"]
        assert len(waits) > 10
        assert max(waits) < 1.2
