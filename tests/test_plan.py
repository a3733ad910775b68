"""Plans decide, account for both sides, say what they leave behind, and never guess."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfreuse import plan as plans
from tfreuse import roles
from tfreuse.errors import InputError
from tfreuse.plan import Plan, make, remedies
from tfreuse.plan.variables import Variable


def layer(path, class_name, *shapes, dtype="float32", **config):
    """Variables of one layer as a model's index would list them."""
    found = roles.layer_roles(class_name, config) or (None,) * len(shapes)
    return [
        Variable(
            f"{path}/{i}",
            path.rpartition("/")[2],
            class_name,
            role,
            i,
            shape,
            dtype,
            roles.layer_settings(config, config.get("rank")),
        )
        for i, (role, shape) in enumerate(zip(found, shapes, strict=True))
    ]


def conv(path, into=4, out=4, **config):
    return layer(path, "Conv2D", (3, 3, into, out), (out,), **config)


def bn(path, size=4, **config):
    absent = [config.get("scale", True), config.get("center", True)].count(False)
    return layer(path, "BatchNormalization", *[(size,)] * (4 - absent), **config)


def net(*names, width=4):
    """conv and bn for each name."""
    return [v for n in names for v in (*conv(f"{n}_conv"), *bn(f"{n}_bn", width))]


def chain(*paths):
    """Edges of layers that follow one another."""
    return {
        path: ((paths[i - 1],) if i else ("input",)) for i, path in enumerate(paths)
    } | {"input": ()}


def statuses(plan):
    return {str(e.variable): e.status for e in plan.entries}


TWO = net("encoder_1_a", "encoder_2_a")


# Selecting


def test_what_is_selected_is_copied_and_the_rest_kept():
    plan = make(TWO, TWO, roles="stats", layers=["encoder_1_*"])
    copied = {v for v, status in statuses(plan).items() if status == "COPY"}
    assert copied == {
        "encoder_1_a_bn:moving_mean",
        "encoder_1_a_bn:moving_variance",
    }
    assert set(statuses(plan).values()) == {"COPY", "KEEP"}
    assert len(plan.entries) == len(TWO)


def test_a_pattern_of_stage_1_does_not_hit_stage_10():
    both = net("encoder_1_a", "encoder_10_a")
    plan = make(both, both, layers=["encoder_1_*"])
    assert {e.recipient.layer for e in plan.copies} == {
        "encoder_1_a_conv",
        "encoder_1_a_bn",
    }


def test_an_exclamation_mark_excludes_and_the_last_pattern_decides():
    names = ["a_conv", "a_bn", "b_conv"]
    assert plans.select(names, ["*", "!a_*", "a_bn"]) == {"a_bn", "b_conv"}
    assert plans.select(names, ["!a_*"]) == {"b_conv"}
    assert plans.select(names, ["a_bn", "!a_*"]) == set()


def test_a_pattern_that_matches_nothing_is_refused_with_the_nearest_names():
    with pytest.raises(InputError, match=r"'encodr_1\*' matches no layer.*encoder_1_a"):
        make(TWO, TWO, layers=["encodr_1*"])
    own = [*net("stem", "body"), *conv("head_autoencoder_conv")]
    names = "the first of each stage: stem_conv, body_conv, head_autoencoder_conv"
    with pytest.raises(InputError, match=f"'encoder_.*' matches no layer; {names}"):
        make(own, own, layers=["encoder_*"])
    with pytest.raises(InputError, match="matches no layer"):
        make(TWO, TWO, layers=["*", "!head_*"])


def test_patterns_match_nested_paths_too():
    nested = [*conv("backbone/a"), *conv("head/a")]
    plan = make(nested, nested, layers=["*", "!backbone/*"])
    assert {e.recipient.path for e in plan.copies} == {"head/a/0", "head/a/1"}


def test_nothing_selected_is_an_error():
    convolutions = conv("a_conv")
    with pytest.raises(InputError, match="nothing was selected.*moving_mean"):
        make(convolutions, convolutions, roles="stats")


def test_stages_select_by_the_grammar_and_by_foreign_names():
    both = [*net("encoder_1_a", "encoder_10_a"), *conv("conv4_block6_1_conv")]
    plan = make(both, both, stages=["encoder_1", "conv4"])
    assert {e.recipient.layer for e in plan.copies} == {
        "encoder_1_a_conv",
        "encoder_1_a_bn",
        "conv4_block6_1_conv",
    }
    with pytest.raises(InputError, match=r"stage pattern 'encoder_2' matches no stage"):
        make(both, both, stages=["encoder_2"])


def test_depth_ranges_that_meet_share_no_layer_and_leave_none_out():
    odd = [v for i in range(5) for v in conv(f"layer_{i}_conv")]
    first, second = (make(odd, odd, depth=d) for d in ("0..0.5", (0.5, 1)))
    layers = [{e.recipient.layer for e in p.copies} for p in (first, second)]
    assert layers[0] == {"layer_0_conv", "layer_1_conv"}
    assert len(layers[0] | layers[1]) == 5 and not layers[0] & layers[1]


@pytest.mark.parametrize("text", ["0.5", "0.5..0.2", "0..2", "a..b", "..", "nan..1"])
def test_a_bad_depth_range_is_refused_with_an_example(text):
    with pytest.raises(InputError, match=r"for example 0\.\.0\.5"):
        make(TWO, TWO, depth=text)


# Accounting


def test_a_layer_that_the_donor_lacks_is_missing_and_one_too_many_is_unused():
    plan = make(net("a", "c"), net("a", "b"))
    assert statuses(plan)["b_conv:kernel"] == "MISSING"
    assert statuses(plan)["c_conv:kernel"] == "UNUSED"
    with pytest.raises(InputError, match="12 of the selected variables cannot"):
        plan.check()


def test_a_refused_plan_names_flags_that_help_with_the_names_of_its_layers():
    theirs = net("encoder_1_a") + conv("head_autoencoder_conv")
    ours = net("encoder_1_a") + conv("classes")
    with pytest.raises(InputError) as refusal:
        make(theirs, ours).check()
    first = "--layers='!classes,!head_autoencoder_conv'"
    allow = "--allow_missing=classes --allow_unused=head_autoencoder_conv"
    assert f"Leave them out with {first}, or allow them with {allow}." in str(
        refusal.value
    )
    make(theirs, ours, layers="!classes,!head_autoencoder_conv").check()
    make(
        theirs, ours, allow_missing="classes", allow_unused="head_autoencoder_conv"
    ).check()
    # a remedy that was followed by half is completed, not repeated
    with pytest.raises(InputError, match=r"--layers='!head_\*,!classes'"):
        make(theirs, ours, layers="!head_*").check()
    with pytest.raises(
        InputError, match="of the selected variables cannot be compared"
    ):
        make(theirs, ours).check("compared")
    # several that begin alike, where no other layer does
    with pytest.raises(
        InputError, match=r"with --layers='!decoder_\*', .*used='decoder_\*'"
    ):
        make(net("encoder_1_a", "decoder_1", "decoder_2"), net("encoder_1_a")).check()
    with pytest.raises(InputError, match=r"--layers='!b_conv,!b_bn'"):
        make(net("a", "b") + conv("b_more"), net("a") + conv("b_more")).check()
    with pytest.raises(InputError, match="name the pairs with --map"):
        make(conv("theirs"), conv("ours")).check()


def test_biases_that_the_donor_lacks_are_filled_in_by_one_pattern():
    def biased(*paths, use_bias=True):
        shapes = [(3, 3, 4, 4), (4,)][: 1 + use_bias]
        return [
            v
            for path in paths
            for v in layer(path, "Conv2D", *shapes, use_bias=use_bias)
        ]

    ours = biased("a", "b", "c") + bn("norm")
    theirs = biased("a", "b", use_bias=False) + biased("c") + bn("norm")
    plan = make(theirs, ours, adapters=["norm=blend:0.5"])
    hint = "--adapters='*=zero' sets all 2 to zero"
    assert (
        f"MISSING: a:bias, b:bias: the donor's layer has no bias; {hint}"
        in " ".join(plan.table().split())
    )
    with pytest.raises(InputError) as refusal:
        plan.check()
    assert str(refusal.value).count(hint) == 1
    assert [entry.fill for entry in plan.problems] == ["*=zero"] * 2
    quoted = make(biased("it's", use_bias=False), biased("it's"))
    assert remedies.fills(quoted) == ["it's=zero"]
    filled = "norm=blend:0.5,*=zero"
    assert str(refusal.value).endswith(f"lacks with --adapters='{filled}'.")
    filled_plan = make(theirs, ours, adapters=filled).check()
    assert {str(e.recipient) for e in filled_plan.copies if "zero" in e.adapters} == {
        "a:bias",
        "b:bias",
    }
    # a pattern for all would fill in what may be missing
    with pytest.raises(InputError, match="lacks with --adapters=b=zero"):
        make(theirs, ours, allow_missing="a").check()
    # other problems are left out beside it
    theirs += conv("d")
    with pytest.raises(InputError, match=r"zero'\. Leave them out with --layers='!d'"):
        make(theirs, ours).check()


def test_other_widths_are_mismatches_whatever_the_axes_are():
    theirs = layer("norm", "BatchNormalization", *[(8,)] * 4)
    ours = layer("norm", "BatchNormalization", *[(4,)] * 4, axis=-1)
    plan = make(theirs, ours)
    assert {e.status for e in plan.problems} == {"MISMATCH"}
    assert "shape (8,) does not fit (4,)" in plan.problems[0].reason
    # a bias that fits beside a kernel that does not leaves nothing once its layer is left out
    theirs += layer("head", "Dense", (8, 2), (2,))
    ours += layer("head", "Dense", (4, 2), (2,))
    with pytest.raises(InputError, match="other shapes in the donor: take") as caught:
        make(theirs, ours).check()
    assert "--layers='!" not in str(caught.value)
    theirs += conv("more")
    ours += conv("more")
    with pytest.raises(InputError, match="with --layers='!norm,!head'"):
        make(theirs, ours).check()
    norms = [
        layer("n", "BatchNormalization", *[(4,)] * 4, axis=axis) for axis in (1, 2)
    ]
    assert {e.status for e in make(*norms).problems} == {"REFUSED"}
    unstated = layer("n", "BatchNormalization", *[(4,)] * 4)
    plan = make(unstated, norms[0]).check()
    assert "the donor states no axis of 1 layers" in " ".join(plan.notes)


def test_tolerances_are_written_out_and_recorded():
    options = {"allow_missing": ["b_*"], "allow_unused": ["c_*"]}
    plan = make(net("a", "c"), net("a", "b"), **options).check()
    assert len(plan.copies) == 6
    assert {e.allowed for e in plan.entries if e.status == "MISSING"} == {"b_*"}
    assert {e.allowed for e in plan.entries if e.status == "UNUSED"} == {"c_*"}
    assert plan.allow_missing == ("b_*",)
    half = make(net("a", "c"), net("a", "b"), allow_missing=["b_*"])
    assert {e.status for e in half.problems} == {"UNUSED"}
    with pytest.raises(InputError, match="matches no layer"):
        make(net("a"), net("a"), allow_missing=["b_*"])
    with pytest.raises(InputError, match="without '!'"):
        make(net("a"), net("a"), allow_missing=["!a_*"])


def test_another_shape_is_a_mismatch_and_says_both():
    plan = make(conv("a", out=4), conv("a", out=8))
    assert plan.problems[0].reason == "shape (3, 3, 4, 4) does not fit (3, 3, 4, 8)"
    assert {e.status for e in plan.entries} == {"MISMATCH"}


def test_another_dtype_is_a_mismatch():
    plan = make(conv("a"), conv("a", dtype="bfloat16"))
    assert "dtype float32 does not fit bfloat16" in plan.problems[0].reason


def test_beta_goes_to_beta_though_its_position_differs():
    plan = make(bn("a_bn"), bn("a_bn", scale=False), allow_unused=["*"]).check()
    pairs = {
        (e.donor.role, e.donor.position, e.recipient.position) for e in plan.copies
    }
    expected = {("beta", 1, 0), ("moving_mean", 2, 1), ("moving_variance", 3, 2)}
    assert pairs == expected
    unused = [e.variable.role for e in plan.entries if e.status == "UNUSED"]
    assert unused == ["gamma"]


def test_a_layer_of_an_unknown_class_moves_whole_or_is_refused():
    odd = layer("block", "Odd", (4,), (4,))
    plan = make([*odd, *conv("a")], [*odd, *conv("a")]).check()
    assert {e.recipient.path for e in plan.copies} >= {"block/0", "block/1"}
    assert "whole layer" in plan.table()
    kernels = make([*odd, *conv("a")], [*odd, *conv("a")], roles="kernel").check()
    assert statuses(kernels)["block/0"] == "KEEP"
    assert "unknown roles: Odd" in kernels.table() and not kernels.notes
    unknown = [*layer("block/c", "", (1, 1, 3, 4)), *conv("a")]  # as in a `.keras` file
    known = [*layer("block/c", "ConvLSTM2D", (1, 1, 3, 4)), *conv("a")]
    (refused,) = make(unknown, known).problems
    assert "the donor's file does not say what layer this is" in refused.reason
    kernels = make(unknown, unknown, roles="kernel").check()
    assert "1 layers of unknown classes stay as they are (block/c)" in kernels.notes[0]
    assert "unknown roles: no class" in kernels.table()
    for theirs, status in (
        (layer("block", "Other", (4,), (4,)), "REFUSED"),
        (layer("block", "Odd", (4,)), "REFUSED"),
        (layer("block", "Odd", (5,), (4,)), "MISMATCH"),
        (conv("b"), "MISSING"),
    ):
        plan = make([*theirs, *conv("a")], [*odd, *conv("a")], allow_unused=["*"])
        assert statuses(plan)["block/0"] == status
    plan = make([*odd, *conv("a")], conv("a"))
    assert [e.status for e in plan.problems] == ["UNUSED", "UNUSED"]
    make([*odd, *conv("a")], conv("a"), allow_unused=["block"]).check()


def test_arrays_without_roles_pair_by_name_where_their_order_is_unknown():
    def arrays(*names, position=-1):
        return [
            dataclasses.replace(variable, name=name, position=position)
            for variable, name in zip(
                layer("odd", "Odd", (4,), (4,)), names, strict=True
            )
        ]

    plan = make(arrays("u", "v"), arrays("v", "u")).check()
    assert {e.donor.path: e.recipient.path for e in plan.copies} == {
        "odd/0": "odd/1",
        "odd/1": "odd/0",
    }
    plan = make(arrays("u", "v"), layer("odd", "Odd", (4,), (4,)))
    assert "which of its arrays is which" in plan.problems[0].reason
    plan = make(arrays("u", "v"), arrays("u", "w"))
    assert {e.status for e in plan.entries} == {"REFUSED"}


@pytest.mark.parametrize(
    "theirs, ours, why",
    [
        (
            conv("a"),
            layer("a", "Conv2DTranspose", (3, 3, 4, 4), (4,)),
            "mean something",
        ),
        (conv("a", groups=2), conv("a", groups=1), "groups 2 does not fit 1"),
        (bn("a", axis=1, rank=4), bn("a", axis=-1), "axis 1 does not fit -1"),
    ],
)
def test_arrays_that_would_mean_something_else_are_refused(theirs, ours, why):
    plan = make(theirs, ours)
    assert {e.status for e in plan.entries} == {"REFUSED"}
    assert why in plan.problems[0].reason


def test_the_axis_of_the_channels_may_have_another_number():
    first = [*conv("c", data_format="channels_first"), *bn("b", axis=1)]
    last = [*conv("c", data_format="channels_last"), *bn("b", axis=-1)]
    plan = make(first, last).check()
    assert len(plan.copies) == 6
    assert any(note.startswith("data_format") for note in plan.notes)
    rows = [*conv("c", data_format="channels_last"), *bn("b", axis=1, rank=4)]
    assert {e.status for e in make(rows, last, roles="bn").entries} == {
        "REFUSED",
        "KEEP",
    }


# Pairing layers


def test_a_backbone_nested_in_one_model_and_inlined_in_the_other_pairs_by_name():
    plan = make(conv("backbone/stem"), conv("stem")).check()
    assert plan.copies[0].donor.path == "backbone/stem/0"


def test_equal_names_in_two_nested_models_pair_by_path():
    both = [*conv("left/a"), *conv("right/a")]
    plan = make(list(reversed(both)), both).check()
    assert all(e.donor.path == e.recipient.path for e in plan.copies)


def test_a_name_that_means_several_layers_is_ambiguous_and_lists_them():
    plan = make([*conv("left/a"), *conv("right/a")], conv("a"))
    assert {e.status for e in plan.entries} == {"AMBIGUOUS"}
    assert "left/a, right/a" in plan.problems[0].reason
    with pytest.raises(InputError, match="Pair them in a map"):
        plan.check()


def test_a_map_goes_before_names():
    both = [*conv("a"), *conv("b")]
    plan = make(both, both, mapping={"a": "b", "b": "a"}).check()
    assert {(e.donor.layer, e.recipient.layer) for e in plan.copies} == {
        ("a", "b"),
        ("b", "a"),
    }
    assert plan.mapping == (("a", "b"), ("b", "a"))


def test_a_star_in_a_map_stands_for_the_same_text_on_both_sides():
    donor = [*conv("block1_conv"), *conv("block2_conv")]
    recipient = [*conv("stage_2_x"), *conv("stage_1_x")]
    plan = make(donor, recipient, mapping={"block*_conv": "stage_*_x"}).check()
    assert [e.donor.layer for e in plan.copies[::2]] == ["block2_conv", "block1_conv"]


@pytest.mark.parametrize(
    "mapping, why",
    [
        ({"nothing": "b"}, "nearest in the donor"),
        ({"a": "nothing"}, "nearest in the recipient"),
        ({"a*": "b"}, "needs one \\* on both sides"),
        ({"a": "b", "b": "b"}, "two donors"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(mapping, why):
    both = [*conv("a"), *conv("b")]
    with pytest.raises(InputError, match=why):
        make(both, both, mapping=mapping)


def test_a_map_file_has_one_pair_a_line_and_comments(tmp_path):
    path = tmp_path / "x.map"
    path.write_text("# stem\nconv1 = stem  # first\n\nblock*_a = stage_*_a\n")
    expected = (("conv1", "stem"), ("block*_a", "stage_*_a"))
    assert plans.read_mapping(path) == expected
    path.write_text("conv#2 = stem#3 # not the first\n")
    assert plans.read_mapping(path) == (("conv#2", "stem#3"),)
    path.write_text("conv1 = stem\nconv2 stage\n")
    with pytest.raises(InputError, match="line 2 should read 'donor layer = recipient"):
        plans.read_mapping(path)
    with pytest.raises(InputError, match="cannot be read"):
        plans.read_mapping(tmp_path / "absent.map")


def test_a_text_is_a_list_of_patterns_at_its_commas():
    donor, recipient = net("a", "b", "c"), net("a", "b", "d")
    text = {
        "layers": "*,!b_*",
        "stages": "a*, c*,d*",
        "allow_missing": "d_conv,d_bn",
        "allow_unused": "c_*",
        "adapters": "a_conv=blend:0.5,a_bn=blend:0.25",
    }
    lists = {name: [part.strip() for part in t.split(",")] for name, t in text.items()}
    assert make(donor, recipient, **text) == make(donor, recipient, **lists)
    assert make(donor, recipient, **text).layers == ("*", "!b_*")


def test_names_that_keras_made_up_count_only_if_all_are_the_same():
    same = [*conv("conv2d"), *conv("conv2d_1")]
    assert len(make(same, same).check().copies) == 4
    other = [*conv("conv2d_1"), *conv("conv2d_2")]
    plan = make(same, other)
    assert statuses(plan)["conv2d_1:kernel"] == "AMBIGUOUS"
    assert not plan.copies


def test_made_up_names_pair_by_place_in_the_graph():
    donor = [*conv("conv2d"), *conv("conv2d_1"), *conv("conv2d_2")]
    recipient = [*conv("conv2d_2"), *conv("conv2d_3"), *conv("conv2d_4")]
    plan = make(
        donor,
        recipient,
        donor_edges=chain("conv2d", "conv2d_1", "conv2d_2"),
        recipient_edges=chain("conv2d_2", "conv2d_3", "conv2d_4"),
    ).check()
    pairs = [(e.donor.layer, e.recipient.layer) for e in plan.copies[::2]]
    assert pairs == [
        ("conv2d", "conv2d_2"),
        ("conv2d_1", "conv2d_3"),
        ("conv2d_2", "conv2d_4"),
    ]


def test_an_encoder_pairs_by_place_though_what_follows_differs():
    donor = [*conv("p"), *conv("q"), *layer("top", "Dense", (4, 10), (10,))]
    recipient = [*conv("a"), *conv("b"), *conv("up", 8)]
    plan = make(
        donor,
        recipient,
        donor_edges=chain("p", "q", "top"),
        recipient_edges={"a": ("x",), "b": ("a",), "up": ("b", "a"), "x": ()},
        allow_missing=["up"],
        allow_unused=["top"],
    ).check()
    pairs = [(e.donor.layer, e.recipient.layer) for e in plan.copies[::2]]
    assert pairs == [("p", "a"), ("q", "b")]


def test_twins_are_ambiguous_and_nothing_is_guessed():
    def branches(a, b):
        return [*conv(a), *conv(b)], {a: ("x",), b: ("x",), "add": (a, b), "x": ()}

    (donor, donor_edges), (recipient, recipient_edges) = (
        branches("p", "q"),
        branches("a", "b"),
    )
    plan = make(
        donor, recipient, donor_edges=donor_edges, recipient_edges=recipient_edges
    )
    assert {e.status for e in plan.entries} == {"AMBIGUOUS"}
    assert "candidates: p, q" in plan.problems[0].reason
    named = make(
        donor,
        recipient,
        donor_edges=donor_edges,
        recipient_edges=recipient_edges,
        mapping={"q": "a"},
    ).check()  # the one that is left is then known by elimination
    assert {(e.donor.layer, e.recipient.layer) for e in named.copies} == {
        ("q", "a"),
        ("p", "b"),
    }


def test_twins_are_told_apart_by_what_reads_from_them():
    def branches(a, b, wide, tail, out):
        edges = {a: ("x",), b: ("x",), wide: (b,), tail: (a, wide), "x": ()}
        return [*conv(a), *conv(b), *conv(wide, out=8), *conv(tail, 12, out)], edges

    (donor, donor_edges), (recipient, recipient_edges) = (
        branches("p", "q", "r", "top", 5),  # what follows differs, as a classifier's
        branches("c", "b", "a", "end", 9),  # head differs from a decoder
    )
    plan = make(
        donor,
        recipient,
        donor_edges=donor_edges,
        recipient_edges=recipient_edges,
        allow_missing=["end"],
        allow_unused=["top"],
    ).check()
    assert {(e.donor.layer, e.recipient.layer) for e in plan.copies} == {
        ("p", "c"),
        ("q", "b"),
        ("r", "a"),
    }


def test_where_input_and_output_disagree_nothing_is_paired():
    # three equal layers into four: the third is third from the input or last before the output
    plan = make(
        [v for n in "pqr" for v in conv(n)],
        [v for n in "abcd" for v in conv(n)],
        donor_edges=chain(*"pqr"),
        recipient_edges=chain(*"abcd"),
    )
    assert not plan.copies
    assert "AMBIGUOUS" in {e.status for e in plan.entries}


def test_heads_of_two_tasks_never_pair_by_place():
    plan = make(
        [*conv("a_conv"), *conv("head_segmentation_conv")],
        [*conv("a_conv"), *conv("head_autoencoder_conv")],
        donor_edges=chain("a_conv", "head_segmentation_conv"),
        recipient_edges=chain("a_conv", "head_autoencoder_conv"),
    )
    assert statuses(plan)["head_autoencoder_conv:kernel"] == "MISSING"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    reads=st.lists(st.sets(st.integers(0, 6), max_size=3), min_size=1, max_size=8),
    widths=st.lists(st.sampled_from([4, 8]), min_size=8, max_size=8),
    order=st.permutations(range(8)),
    tail=st.booleans(),
)
def test_a_renamed_graph_is_never_paired_wrongly(reads, widths, order, tail):
    # layer i reads from earlier ones; the copy has other names and, perhaps, another end
    edges = {f"d{i}": tuple(f"d{j}" for j in r if j < i) for i, r in enumerate(reads)}
    true = {f"d{i}": f"r{order[i]}" for i in range(len(reads))}
    copy = {true[n]: tuple(true[m] for m in sources) for n, sources in edges.items()}
    donor = [v for i, n in enumerate(edges) for v in conv(n, 4, widths[i])]
    recipient = [v for i, n in enumerate(edges) for v in conv(true[n], 4, widths[i])]
    if tail:
        copy["end"] = tuple(true[n] for n in list(edges)[-2:])
        recipient += conv("end", 4, 16)
    plan = make(donor, recipient, donor_edges=edges, recipient_edges=copy)
    for entry in plan.copies:
        assert true[entry.donor.layer] == entry.recipient.layer
    descent = {n: _descent(n, edges, widths) for n in edges}
    if len(set(descent.values())) == len(edges):  # then places tell all apart
        assert tail or len(plan.copies) == 2 * len(edges)


def _descent(name, edges, widths):
    before = sorted(_descent(source, edges, widths) for source in edges[name])
    return f"{widths[int(name[1:])]}({','.join(before)})"


# Notes


@pytest.mark.parametrize(
    "moved, note",
    [
        ("stats", "statistics without their kernels in 2 layers"),
        ("affine", "gamma or beta without their statistics in 2 layers"),
        ("conv", "kernels without all of their batch norm in 2 layers"),
        ("stats,kernel", "statistics without gamma and beta in 2 layers"),
    ],
)
def test_a_plan_says_what_kind_of_arm_it_is(moved, note):
    assert any(n.startswith(note) for n in make(TWO, TWO, roles=moved).notes)


def test_a_whole_transplant_and_biases_alone_have_no_notes():
    assert make(TWO, TWO).notes == ()
    assert make(TWO, TWO, roles="bias").notes == ()


def test_edges_say_which_kernel_feeds_a_batch_norm_where_names_do_not():
    net = [*conv("p"), *conv("q"), *bn("n")]  # in order, q comes before n; p feeds it
    edges = {"p": ("x",), "q": ("x",), "n": ("p",), "x": ()}
    both = {"donor_edges": edges, "recipient_edges": edges}
    with_p = make(net, net, layers=["p", "n"], **both)
    with_q = make(net, net, layers=["q", "n"], **both)
    assert not any("without their kernels" in note for note in with_p.notes)
    assert any("without their kernels" in note for note in with_q.notes)


@pytest.mark.parametrize(
    "name, theirs, ours", [("epsilon", 1.001e-5, 1e-3), ("momentum", 0.9, 0.99)]
)
def test_differing_numbers_of_batch_norms_are_noted(name, theirs, ours):
    plan = make(bn("a", **{name: theirs}), bn("a", **{name: ours})).check()
    note = f"{name} {theirs} in the donor, {ours} in the recipient, in 1 layers"
    assert any(n.startswith(note) for n in plan.notes)


# The value


def test_equal_plans_have_equal_hashes_and_other_plans_have_others():
    base = make(TWO, TWO).hash
    assert make(list(TWO), tuple(TWO)).hash == base
    others = [
        make(TWO, TWO, roles="stats"),
        make(TWO, TWO, layers=["encoder_*"]),
        make(TWO, TWO, adapters=["*=blend:0.5"]),
        make(TWO, TWO, allow_missing=["*"]),
        make(TWO, net("encoder_1_a", "encoder_2_b"), allow_missing=["*_2_b*"]),
        make(bn("a", epsilon=0.1), bn("a", epsilon=0.1)),
    ]
    hashes = {base, *(plan.hash for plan in others)}
    assert len(hashes) == 1 + len(others)


def test_a_hash_is_the_same_in_another_process():
    code = (
        "from tests.test_plan import *; "
        "twins = [*conv('p'), *conv('q')]; e = {'p': ('x',), 'q': ('x',), 'x': ()}; "
        "print(make(twins, [*conv('a'), *conv('b')], donor_edges=e, "
        "recipient_edges={'a': ('x',), 'b': ('x',), 'x': ()}).hash, make(TWO, TWO).hash)"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=pathlib.Path(__file__).parent.parent,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ".", "PATH": ""},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1


def test_a_plan_survives_json():
    plan = make(
        net("a", "c"),
        net("a", "b"),
        depth="0..1",
        mapping={"c_conv": "b_conv"},
        adapters=["b_*=blend:0.5"],
        allow_missing=["b_*"],
        allow_unused=["c_*"],
    )
    text = json.dumps(plan.to_json())
    again = Plan.from_json(json.loads(text))
    assert again == plan and again.hash == plan.hash
    assert json.dumps(again.to_json()) == text


def test_a_plan_that_was_edited_is_refused():
    values = make(TWO, TWO).to_json()
    values = json.loads(json.dumps(values))
    values["entries"][0]["donor"]["path"] = "other/0"
    with pytest.raises(InputError, match="the plan was changed after it was made"):
        Plan.from_json(values)


@pytest.mark.parametrize(
    "values", [{}, {"hash": ""}, [], "x", {"hash": 1, "entries": 3}]
)
def test_what_is_no_plan_is_refused(values):
    with pytest.raises(InputError, match="this is not a plan"):
        Plan.from_json(values)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "MOVE"},
        {"donor": None},
        {"status": "KEEP", "donor": None, "recipient": None},
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_whatever_its_hash(change):
    plan = make(conv("a"), conv("a"))
    bad = dataclasses.replace(plan.entries[0], **change)
    values = dataclasses.replace(plan, entries=(bad,)).to_json()
    with pytest.raises(InputError, match="this is not a plan"):
        Plan.from_json(json.loads(json.dumps(values)))


def test_values_that_are_equal_already_are_the_same_and_still_written():
    plan = make(TWO, TWO, roles="bias")
    compared = plan.compared(lambda e: e.recipient.layer == "encoder_1_a_conv")
    assert [e.status for e in compared.entries if e.status != "KEEP"] == [
        "SAME",
        "COPY",
    ]
    assert len(compared.copies) == 2
    assert compared.check() is compared


# The table


def test_the_table_is_short_narrow_and_adds_up():
    names = [f"encoder_{i}_{j}" for i in range(1, 5) for j in "ab"]
    plan = make(net(*names), net(*names), roles="stats,kernel")
    lines = plan.table().splitlines()
    assert "encoder_{1..4}_{a,b}_bn" in plan.table()
    assert len(lines) <= 8 and max(map(len, lines)) <= 100
    # 8 kernels of 3 3 4 4 and 16 statistics of 4; a block holds 144 + 4 + 16 numbers
    share = (8 * 144 + 16 * 4) / (8 * 164)
    total = (
        f"moves 24 variables, 1,216 parameters ({share:.1%} of the recipient), 4.9 kB"
    )
    assert total in plan.table()


def test_the_table_shows_no_control_characters_from_names():
    evil = conv("a\x1b[31m\n\u202eb")
    for table in (make(evil, evil).table(), make(evil, conv("b")).table()):
        assert "\x1b" not in table and "\u202e" not in table
        assert max(map(len, table.splitlines())) <= 100


def test_the_table_shows_renames_adapters_and_problems():
    plan = make(
        [*conv("a"), *conv("c")],
        [*conv("b"), *conv("d")],
        mapping={"a": "b"},
        adapters=["b=blend:0.5"],
    )
    for words in ("from a", "through blend:0.5", "MISSING: d:kernel", "UNUSED: c:bias"):
        assert words in plan.table()


# Adapters in plans


def test_a_first_convolution_of_other_channels_needs_an_adapter():
    rgb, grey = conv("stem", 3), conv("stem", 1)
    assert make(rgb, grey).problems[0].status == "MISMATCH"
    plan = make(rgb, grey, adapters=["stem=channels:mean"]).check()
    assert [e.adapters for e in plan.copies] == [("channels:mean",), ()]
    with pytest.raises(InputError, match="stem=channels:mean changes nothing"):
        make(rgb, rgb, adapters=["stem=channels:mean"])
    other = conv("stem", 1, 8)  # the output differs too
    assert make(rgb, other, adapters=["stem=channels:mean"]).problems
    narrow = make(grey, rgb, adapters=["stem=channels:slice"])
    assert "use channels:pad" in narrow.problems[0].reason


@pytest.mark.parametrize(
    "text", ["stem", "stem=blend:2", "stem=mean", "=cast", "a=blend:x"]
)
def test_an_adapter_that_does_not_exist_is_refused(text):
    with pytest.raises(InputError, match="an adapter is LAYERS=ADAPTER"):
        make(TWO, TWO, adapters=[text])


def test_planning_imports_neither_tensorflow_nor_keras():
    code = "import sys, tfreuse.plan; print(sorted({'keras', 'tensorflow'} & {*sys.modules}))"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ran.stdout.strip() == "[]", ran.stderr


def dense(*arrays, layer="d1"):
    return tuple(
        Variable(f"{layer}/{n}", layer, "Dense", role, n, shape, dtype)
        for n, (role, shape, dtype) in enumerate(arrays)
    )


QUANTIZED = dense(
    (None, (8, 4), "int8"), (None, (4,), "float32"), (None, (4,), "float32")
)
PLAIN = dense(("kernel", (8, 4), "float32"), ("bias", (4,), "float32"))


@pytest.mark.parametrize(
    ("donor", "recipient"), [(QUANTIZED, QUANTIZED), (PLAIN, QUANTIZED)]
)
def test_a_quantized_layer_is_refused_by_name_and_once(donor, recipient):
    made = make(donor, recipient, allow_unused=["*"])
    (entry,) = made.problems
    assert entry.status == plans.REFUSED and "quantized" in entry.reason
    assert "d1/0" in str(entry.variable)
    kept = make(
        (*donor, *dense(*[("kernel", (4, 2), "float32")], layer="d2")),
        (*recipient, *dense(*[("kernel", (4, 2), "float32")], layer="d2")),
        layers=["!d1"],
    )
    assert [str(entry.variable) for entry in kept.check().copies] == ["d2:kernel"]


def test_a_quantized_donor_never_fills_a_plain_layer():
    made = make(QUANTIZED, PLAIN, adapters=["*=cast"])
    assert {entry.status for entry in made.problems} == {plans.REFUSED}
    assert all("of the donor" in entry.reason for entry in made.problems)
