from contextvars import copy_context

from services.common.rpc.deadline import deadline_of_call, timeout_for_call


def test_a_call_that_is_closed_in_another_context_lets_go_of_its_deadline() -> None:
    manager = deadline_of_call(1.0)
    copy_context().run(manager.__enter__)
    manager.__exit__(None, None, None)
    assert timeout_for_call(5.0, 3.0) == 5.0
