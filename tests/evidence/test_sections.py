from tunix_exp.evidence.sections import steps_of


def test_a_stage_of_epochs_is_rounded_up_to_whole_batches_and_no_further():
    assert [steps_of(epochs, rows=10, batch_size=4) for epochs in (0.1, 0.4, 1, 1.2, 1.3, 2)] == [
        1,
        1,
        3,
        3,
        4,
        5,
    ]
    assert steps_of(0.1 + 0.2, rows=10, batch_size=1) == 4  # that float is more than 0.3
    assert steps_of(0.3, rows=10, batch_size=1) == 3
