from tunix_exp.evidence.kinds.steps import every_nth, logged_steps, wrong_steps


def test_the_first_every_nth_and_the_last_step_are_logged() -> None:
    assert logged_steps(after=0, last=12, every=5) == [1, 5, 10, 12]


def test_a_resumed_run_logs_the_steps_that_were_left() -> None:
    whole = logged_steps(after=0, last=12, every=5)
    assert logged_steps(after=7, last=12, every=5) == [step for step in whole if step > 7]


def test_the_held_out_loss_is_due_at_its_multiples() -> None:
    assert every_nth(after=4, last=12, every=4) == [8, 12]
    assert every_nth(after=0, last=12, every=None) == []


def test_a_step_that_is_missing_or_not_due_is_named() -> None:
    rows = [{"step": 1}, {"step": 7}]
    said = list(wrong_steps(rows, [1, 5, 10]))
    assert said == ["holds 2 steps where 3 are due; step 5 is missing; step 7 is not due"]
    assert list(wrong_steps(rows, [1, 7])) == []
