from tunix_exp.errors import did_you_mean, nearest


def test_a_name_that_is_nearly_known_is_asked_for():
    assert did_you_mean(nearest("anwser", ["question", "answer"])) == " — did you mean `answer`?"


def test_nothing_near_is_not_suggested():
    assert did_you_mean(nearest("zzz", ["answer"])) == ""


def test_a_stricter_cutoff_keeps_out_what_is_less_alike():
    assert nearest("peak", ["peak_lr"]) == "peak_lr"
    assert nearest("peak", ["peak_lr"], cutoff=0.85) is None


def test_several_near_names_are_each_named_once():
    assert did_you_mean("a", None, "b", "a") == " — did you mean `a` or `b`?"
