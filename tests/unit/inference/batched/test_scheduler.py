"""Who computes in the next step, rule by rule."""

import pytest

from services.inference.engine.batched.scheduler import NoRoomError
from tests.unit.inference.batched.desk import CountingRoom, Desk, counts, decoding


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
