from tunix_exp.report.page.configuration import config_tree, differing_keys


def flat(nodes, prefix=""):
    found = {}
    for node in nodes:
        if node.children:
            found |= flat(node.children, f"{prefix}{node.key}.")
        else:
            found[prefix + node.key] = (node.value, node.default)
    return found


def test_a_leaf_that_differs_has_its_default_beside_it():
    tree = config_tree({"a": 1, "g": {"b": "x", "c": None}}, {"a": 1, "g": {"b": "y", "c": None}})
    assert flat(tree) == {"a": ("1", None), "g.b": ("x", "y"), "g.c": ("null", None)}
    assert [node.n_changed for node in tree] == [0, 1]


def test_a_key_of_one_side_alone_is_marked():
    tree = config_tree({"g": {"new": 1}}, {"g": {"old": 2}})
    assert flat(tree) == {"g.new": ("1", "not a key"), "g.old": (None, "2")}


def test_one_and_true_and_one_point_zero_are_not_the_same():
    tree = config_tree({"a": 1, "b": True, "c": []}, {"a": 1.0, "b": 1, "c": []})
    assert [node.n_changed for node in tree] == [1, 1, 0]


def test_without_defaults_nothing_is_marked():
    assert flat(config_tree({"a": 1, "g": {"b": 2}}, None)) == {"a": ("1", None), "g.b": ("2", None)}


def test_groups_come_after_leaves():
    assert [node.key for node in config_tree({"g": {"b": 2}, "a": 1}, None)] == ["a", "g"]


def test_only_the_keys_that_differ_are_named_with_every_run_s_value():
    configs = [
        {"seed": 0, "optim": {"lr": 0.1, "name": "adamw"}},
        {"seed": 1, "optim": {"lr": 0.1, "name": "sgd", "momentum": 0.9}},
    ]
    assert differing_keys(configs) == {
        "seed": ["0", "1"],
        "optim.name": ["adamw", "sgd"],
        "optim.momentum": [None, "0.9"],
    }
    assert differing_keys(configs[:1]) == {}
