"""Who computes in the next step, rule by rule."""

import pytest

from services.inference.engine.batched.rows import Row
from services.inference.engine.batched.scheduler import NoRoomError
from tests.unit.inference.batched.desk import CountingRoom, Desk


def counts(desk: Desk) -> list[tuple[Row, int]]:
    return [(piece.row, piece.count) for piece in desk.step()]


def decoding(desk: Desk, **asked: int | str) -> Row:
    """A row that decodes; other prompts that wait go on meanwhile."""
    row = desk.ask(**asked)  # type: ignore[arg-type]
    desk.run(until=lambda: row.answered > 0)
    return row


class TestSteps:
    def test_nobody_computes_nothing(self) -> None:
        desk = Desk()
        assert desk.step() == ()
        assert (desk.scheduler.waiting, desk.scheduler.running) == (0, 0)

    def test_a_prompt_comes_first_and_then_one_token_at_a_time(self) -> None:
        desk = Desk()
        row = desk.ask(prompt=5, answer=3)
        assert [counts(desk) for _ in range(3)] == [[(row, 5)], [(row, 1)], [(row, 1)]]
        assert desk.step() == ()
        assert row in desk.done

    def test_a_long_prompt_comes_in_chunks(self) -> None:
        desk = Desk()
        row = desk.ask(prompt=1100)
        # The first one tells what a token costs: of what follows, half a second's worth is computed at a time.
        assert [counts(desk) for _ in range(4)] == [[(row, 512)], [(row, 588)], [(row, 1)], [(row, 1)]]

    def test_beside_those_who_decode_prompts_get_what_the_pace_allows(self) -> None:
        desk = Desk()
        first = decoding(desk, answer=100)
        long = desk.ask(prompt=100)
        assert counts(desk) == [(first, 1), (long, 16)]

    def test_prompts_are_computed_in_the_order_in_which_they_were_admitted(self) -> None:
        desk = Desk()
        first, second, third = (desk.ask(prompt=300, adapter=name) for name in "abc")
        assert counts(desk) == [(first, 300), (second, 212)]
        assert counts(desk) == [(first, 1), (second, 16)]
        assert (third.computed, desk.scheduler.running) == (0, 3)

    def test_one_whose_prompt_is_known_decodes_at_once(self) -> None:
        desk = Desk(CountingRoom(remembers=True))
        desk.ask(prompt=40, answer=1)
        desk.run()
        row = desk.ask(prompt=40)
        assert counts(desk) == [(row, 1)]
        assert row.answered == 1

    def test_no_more_rows_than_may_run(self) -> None:
        desk = Desk(max_rows=3)
        for _ in range(5):
            desk.ask()
        desk.step()
        assert (desk.scheduler.waiting, desk.scheduler.running) == (2, 3)

    def test_each_request_is_admitted_once(self) -> None:
        desk = Desk(CountingRoom(40), max_rows=8)
        for _ in range(4):
            desk.ask(prompt=5, answer=20)
        desk.clock.now = 2.0
        desk.run()
        assert desk.log.preemptions > 0
        assert len(desk.log.waits) == 4
        assert desk.log.waits[0] == 2.0


class TestLeaving:
    def test_nobody_computes_for_those_who_left(self) -> None:
        desk = Desk(max_rows=1)
        running, waiting = decoding(desk, answer=100), desk.ask()
        desk.step()
        assert (desk.scheduler.waiting, desk.scheduler.running) == (1, 1)
        waiting.abandoned = True
        assert counts(desk) == [(running, 1)]
        assert (desk.scheduler.waiting, desk.scheduler.running) == (0, 1)
        running.abandoned = True
        assert desk.step() == ()
        assert (desk.room.used, desk.scheduler.running) == ({}, 0)

    def test_their_place_is_free_in_the_same_step(self) -> None:
        desk = Desk(max_rows=1)
        running, waiting = decoding(desk, answer=100), desk.ask()
        running.abandoned = True
        assert counts(desk) == [(waiting, 4)]

    def test_one_that_waits_can_be_finished(self) -> None:
        desk = Desk(max_rows=1)
        running, waiting = decoding(desk, answer=100), desk.ask()
        desk.scheduler.finish(waiting)
        desk.live.remove(waiting)
        assert counts(desk) == [(running, 1)]

    def test_finishing_twice_is_harmless(self) -> None:
        desk = Desk()
        row = desk.ask(answer=1)
        desk.run()
        desk.scheduler.finish(row)
        assert (desk.scheduler.waiting, desk.scheduler.running) == (0, 0)


class TestMemory:
    @pytest.mark.parametrize(("positions", "leaves"), [(63, 1), (61, 2), (62, 1)], ids=["first", "second", "third"])
    def test_the_other_row_that_costs_least_makes_room(self, positions: int, leaves: int) -> None:
        """Whoever it is that needs it; if that is the second, which is cheapest, it takes it from the third."""
        desk = Desk(CountingRoom(positions))
        rows = [desk.ask(prompt=prompt, answer=40) for prompt in (10, 8, 30)]
        desk.run(until=lambda: desk.log.preemptions > 0)
        assert set(desk.room.used) == set(rows) - {rows[leaves]}
        assert rows[leaves].computed == 0
        assert desk.scheduler.waiting == 1

    def test_of_equals_the_one_admitted_last(self) -> None:
        desk = Desk(CountingRoom(39))
        rows = [desk.ask(prompt=10, answer=20) for _ in range(3)]
        desk.run(until=lambda: desk.log.preemptions > 0)
        assert set(desk.room.used) == set(rows[:2])

    def test_the_first_never_makes_room_however_cheap_it_is(self) -> None:
        desk = Desk(CountingRoom(100))
        first = decoding(desk, prompt=2, answer=60)
        others = [desk.ask(prompt=40, answer=40) for _ in range(2)]
        desk.run(until=lambda: desk.log.preemptions > 0)
        assert first in desk.room.used
        desk.run(until=lambda: first in desk.done)
        assert all(row not in desk.done for row in others)
        desk.run()

    def test_a_row_makes_room_itself_if_only_the_first_is_there(self) -> None:
        desk = Desk(CountingRoom(30))
        first = decoding(desk, prompt=20, answer=10)
        second = decoding(desk, prompt=5, answer=10)
        second_tokens = list(second.tokens)
        while second in desk.room.used:
            second_tokens = list(second.tokens)
            desk.step()
        assert first in desk.room.used or first in desk.done
        assert second.tokens[: len(second_tokens)] == second_tokens
        desk.run()

    def test_who_runs_more_than_its_share_pays(self) -> None:
        desk = Desk(CountingRoom(120))
        for _ in range(4):
            decoding(desk, prompt=20, answer=60, adapter="busy")
        light = decoding(desk, prompt=4, answer=60, adapter="light")
        desk.run(until=lambda: desk.log.preemptions > 0)
        assert light in desk.room.used

    def test_what_was_answered_is_kept_and_comes_first_in_its_queue(self) -> None:
        desk = Desk(CountingRoom(44), max_rows=3)
        rows = [desk.ask(prompt=10, answer=20) for _ in range(5)]
        desk.run(until=lambda: desk.log.preemptions > 0)
        preempted = next(row for row in rows if row.answered and row not in desk.room.used)
        desk.run(until=lambda: preempted in desk.room.used)
        assert not any(row.answered or row in desk.room.used for row in rows[3:])
        assert preempted.computed > 10
        desk.run()

    def test_growing_rows_are_not_let_in_just_to_be_thrown_out(self) -> None:
        desk = Desk(CountingRoom(4000))
        for _ in range(300):
            desk.ask(prompt=20, answer=300)
        desk.run()
        assert desk.log.preemptions < 200
        assert desk.prefilled < 0.3 * sum(desk.served.values())

    def test_it_is_forgotten_that_memory_was_short_when_nobody_waits(self) -> None:
        desk = Desk(CountingRoom(80))
        for _ in range(2):
            desk.ask(prompt=30, answer=30)
        desk.run()
        assert desk.log.preemptions > 0
        desk.step()
        for _ in range(8):
            desk.ask(prompt=2, answer=2)
        desk.step()
        assert desk.scheduler.running == 8

    def test_one_that_can_never_go_on_is_told_apart(self) -> None:
        desk = Desk(CountingRoom(10))
        row = desk.ask(prompt=8, answer=10)
        with pytest.raises(NoRoomError, match="11 tokens") as caught:
            desk.run()
        assert caught.value.row is row
        desk.scheduler.finish(row)
        desk.live.remove(row)
        other = desk.ask(prompt=2, answer=2)
        desk.run()
        assert other in desk.done


class TestOvertaking:
    def test_what_fits_may_pass_what_does_not(self) -> None:
        desk = Desk(CountingRoom(100))
        running = decoding(desk, prompt=60, answer=20)
        large, small = desk.ask(prompt=50, adapter="large"), desk.ask(prompt=5, adapter="small")
        desk.step()
        assert set(desk.room.used) == {running, small}
        assert large.computed == 0

    def test_not_for_ever(self) -> None:
        desk = Desk(CountingRoom(100), max_rows=8, patience=1e9)
        large, passed = None, 0
        for step in range(500):
            while desk.scheduler.waiting < 4:
                desk.ask(prompt=20, answer=10, adapter=f"small {len(desk.live) % 7}")
            if step == 50:
                large = desk.ask(prompt=70, adapter="large")
            before = len(desk.log.waits)
            desk.step()
            passed += len(desk.log.waits) - before if large else 0
            if large in desk.room.used:
                break
        assert large in desk.room.used
        assert 4 <= passed <= 8 + 4  # as often as may be, and those whose turn it was before

    def test_an_adapter_without_a_slot_gets_one(self) -> None:
        desk = Desk(CountingRoom(slots=2), max_rows=8)
        starved = None
        for step in range(2000):
            while desk.scheduler.waiting < 4:
                desk.ask(answer=20, adapter=f"busy {len(desk.log.waits) % 2}")
            if step == 100:
                starved = desk.ask(answer=5, adapter="starved")
            if starved in desk.done:
                break
            desk.step()
        assert starved is not None
        assert desk.first_token[starved] - starved.arrived < 1.5
        assert desk.log.preemptions == 0
        assert desk.scheduler.running >= 4, "those who had slots went on meanwhile"

    def test_even_if_all_others_have_long_answers(self) -> None:
        desk = Desk(CountingRoom(slots=1), max_rows=8)
        for _ in range(8):
            desk.ask(answer=3000, adapter="busy")
        desk.step()
        starved = desk.ask(adapter="starved")
        desk.run(until=lambda: starved in desk.first_token)
        assert 2.0 <= desk.clock.now < 2.2

    def test_but_not_from_one_that_was_served_less(self) -> None:
        desk = Desk(CountingRoom(slots=2), max_rows=8)
        for _ in range(12):
            desk.ask(answer=3000, adapter="busy", project="one")
        desk.run(until=lambda: desk.clock.now > 1)
        light = desk.ask(answer=600, adapter="light", project="two")
        desk.run(until=lambda: light in desk.room.used)
        starved = desk.ask(adapter="starved", project="one")
        desk.run(until=lambda: starved in desk.done)
        assert light in desk.room.used
        assert light.answered > 100

    def test_adapters_that_outnumber_the_slots_cost_little(self) -> None:
        desk = Desk(CountingRoom(slots=4), max_rows=16)
        for number in range(320):
            desk.ask(prompt=20, answer=60, adapter=str(number % 8))
        desk.run()
        enough = Desk(max_rows=16)
        for number in range(320):
            enough.ask(prompt=20, answer=60, adapter=str(number % 8))
        enough.run()
        assert desk.clock.now < 1.3 * enough.clock.now


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
