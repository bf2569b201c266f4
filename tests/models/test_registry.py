"""The registry: names, ranges, labels, and that asking it stays cheap."""

import re
import subprocess
import sys

import pytest

from models.errors import KnobError
from models.family import Family
from models.knobs import GIVEN, Default, Knob
from models.registry import FAMILIES, label, resolve, without_aliases
from models.shared_knobs import COMMON

EVERY_HANGING_DEFAULT = [
    pytest.param(family, knob, default, id=f"{family}-{knob.name}-{default.words}")
    for family, row in FAMILIES.items()
    for knob in row.all_knobs
    for default in knob.defaults
]
EVERY_KNOB = [
    pytest.param(family, knob, id=f"{family}-{knob.name}")
    for family, row in FAMILIES.items()
    for knob in row.all_knobs
]


@pytest.mark.parametrize("module", ["models.registry", "models.errors", "models.knobs", "models.family"])
def test_light_modules_import_neither_keras_nor_numpy(module):
    program = f"import {module}, sys; print([n for n in ('keras', 'numpy', 'h5py') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("mobilnet", "mobilenet"),
        ("SqueezeNet", "squeezenet"),
        ("densnet", "densenet"),
        ("dense_net", "densenet"),
    ],
)
def test_mistyped_family_is_answered_with_the_nearest(typed, meant):
    with pytest.raises(KnobError, match=f"unknown model '{typed}'. Did you mean '{meant}'"):
        resolve(typed, {})


@pytest.mark.parametrize("family", FAMILIES)
def test_mistyped_knob_is_answered_with_the_nearest(family):
    with pytest.raises(KnobError, match=f"{family} has no knob 'image_sise'. Did you mean 'image_size'"):
        resolve(family, {"image_sise": 32})


@pytest.mark.parametrize(("family", "knob"), EVERY_KNOB)
def test_value_out_of_range_is_refused_and_the_range_named(family, knob):
    for wrong in wrong_values(knob):
        with pytest.raises(KnobError) as refusal:
            resolve(family, {knob.name: wrong})
        assert knob.name in str(refusal.value)
        assert (", ".join(knob.choices) or knob.range) in str(refusal.value)


def wrong_values(knob: Knob) -> list[object]:
    """Values just beyond each end of the range, and some of the wrong type."""
    wrong: list[object] = [[], "no such word", float("nan")]
    step = 1 if knob.type is int else 1e-6
    wrong += [knob.minimum - step] if knob.minimum is not None else []
    wrong += [knob.above] if knob.above is not None else []
    wrong += [knob.maximum + step] if knob.maximum is not None else []
    if knob.type is not bool:
        wrong.append(True)
    if knob.type is int:
        wrong.append(3.5)
    if knob.type is tuple:
        wrong += [(1.0, 2.0), (1.0, 2.0, float("inf"))]
    return wrong


@pytest.mark.parametrize(("family", "knob"), EVERY_KNOB)
def test_default_of_every_knob_is_within_its_own_range(family, knob):
    assert knob.check(knob.default) == knob.default
    assert knob.help.endswith(".")
    assert knob.name in {known.name for known in FAMILIES[family].knobs} | {known.name for known in COMMON}


@pytest.mark.parametrize(("family", "knob", "default"), EVERY_HANGING_DEFAULT)
def test_help_states_the_default_that_resolving_gives(family: str, knob: Knob, default: Default):
    resolved = resolve(family, example_of(FAMILIES[family], default))
    assert resolved[knob.name] == default.value
    assert default.words in knob.help


def example_of(family: Family, default: Default) -> dict[str, object]:
    """Knobs under which the default holds; one that may have any value has one of the family's grid."""
    known = {name: value for knobs in reversed(family.grid) for name, value in knobs.items()}
    wanted = {name: known[name] if value is GIVEN else value for name, value in default.when.items()}
    return {name: value for name, value in wanted.items() if value is not None}


@pytest.mark.parametrize(
    ("knobs", "compression"),
    [
        # the ImageNet nets are all DenseNet-BC; among the CIFAR nets of Table 2 those with a bottleneck are
        ({"variant": "169"}, 0.5),
        ({"variant": "121", "bottleneck": False}, 0.5),
        ({"depth": 100, "bottleneck": True}, 0.5),
        ({"depth": 100}, 1.0),
    ],
)
def test_compression_of_densenet_is_the_papers_unless_given(knobs, compression):
    assert resolve("densenet", knobs)["compression"] == compression


WITH_DEPTH = [name for name, family in FAMILIES.items() if "depth" in {knob.name for knob in family.knobs}]


@pytest.mark.parametrize("family", WITH_DEPTH)
def test_depth_that_does_not_fit_is_refused_and_the_nearest_are_named(family):
    smallest = FAMILIES[family].knob("depth").minimum
    refused = 0
    for depth in range(smallest, smallest + 30):
        try:
            resolve(family, {"depth": depth})
        except KnobError as error:
            refused += 1
            nearest = [int(word) for word in re.search(r"Nearest: (\d+) or (\d+)", str(error)).groups()]
            for each in nearest:
                assert resolve(family, {"depth": each})["depth"] == each
            assert nearest[0] < depth < nearest[1]
    assert refused


@pytest.mark.parametrize("family", FAMILIES)
def test_grid_has_different_models_of_the_family(family):
    labels = [label(family, knobs) for knobs in FAMILIES[family].grid]
    assert len(set(labels)) == len(labels) > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_published_weights_are_for_a_model_of_the_family(family):
    for checkpoint in FAMILIES[family].checkpoints.values():
        assert checkpoint.family == family
        assert resolve(family, checkpoint.knobs).items() >= checkpoint.knobs.items()


@pytest.mark.parametrize("missing", ["recipe", "min_crop_area", "published", "grid", "small", "tiny"])
def test_family_is_not_made_without_one_of_its_parts(missing):
    family = FAMILIES["mobilenet"]
    parts = {name: getattr(family, name) for name in family.__dataclass_fields__ if name != missing}
    with pytest.raises(TypeError, match=missing):
        Family(**parts)


@pytest.mark.parametrize(
    ("family", "name", "text", "value"),
    [
        ("mobilenet", "alpha", "0.5", 0.5),
        ("mobilenet", "image_size", "160", 160),
        ("mobilenet", "shallow", "yes", True),
        ("mobilenet", "scale", "0.5,1,2", (0.5, 1.0, 2.0)),
        ("mobilenet", "offset", "-1", -1.0),
        ("densenet", "variant", "169", "169"),
    ],
)
def test_words_of_a_command_line_are_parsed_as_the_knob_needs(family, name, text, value):
    assert FAMILIES[family].knob(name).parse(text) == value


@pytest.mark.parametrize(("name", "text"), [("alpha", "wide"), ("image_size", "16.5"), ("shallow", "maybe")])
def test_words_that_are_no_value_are_refused(name, text):
    with pytest.raises(KnobError, match=f"{name} '{text}'"):
        FAMILIES["mobilenet"].knob(name).parse(text)


@pytest.mark.parametrize(
    ("family", "knobs", "expected"),
    [
        ("mobilenet", {}, "mobilenet_224"),
        ("mobilenet", {"alpha": 0.5, "image_size": 160}, "mobilenet_alpha0.5_160"),
        ("mobilenet", {"alpha": 0.5, "rho": 0.714}, "mobilenet_alpha0.5_160"),
        ("mobilenet", {"num_classes": 10}, "mobilenet_224"),
        ("mobilenet", {"shallow": True, "stem": "small"}, "mobilenet_shallow_smallstem_224"),
        ("mobilenet", {"image_size": 64, "stem": "small"}, "mobilenet_64"),
        ("squeezenet", {}, "squeezenet_1.1_224"),
        ("squeezenet", {"version": "1.0", "bypass": "complex"}, "squeezenet_1.0_complexbypass_224"),
        ("densenet", {}, "densenet121_224"),
        ("densenet", {"variant": 169, "growth_rate": 16}, "densenet169k16_224"),
        ("densenet", {"depth": 40}, "densenet_l40k12_32"),
        ("densenet", {"depth": 100, "growth_rate": 12, "bottleneck": True, "compression": 0.5},
         "densenet_bc100k12_32"),
        ("densenet", {"depth": 40, "dropout": 0.2}, "densenet_l40k12_dropout0.2_32"),
    ],
)  # fmt: skip
def test_label_names_what_differs_from_the_defaults(family, knobs, expected):
    assert label(family, knobs) == expected


@pytest.mark.parametrize(
    ("family", "knobs"),
    [
        ("squeezenet", {"bypass": "simple"}),
        ("mobilenet", {"rho": 0.857, "alpha": 0.25}),
        ("densenet", {"variant": "161"}),
        ("densenet", {"depth": 250, "growth_rate": 24, "bottleneck": True}),
    ],
)
def test_resolving_twice_changes_nothing(family, knobs):
    once = resolve(family, knobs)
    assert resolve(family, once) == once
    assert label(family, once) == label(family, knobs)


@pytest.mark.parametrize(("rho", "size"), [(1.0, 224), (0.857, 192), (0.714, 160), (0.571, 128)])
def test_rho_of_the_paper_is_the_papers_image_size(rho, size):
    assert resolve("mobilenet", {"rho": rho}) == resolve("mobilenet", {"image_size": size})


def test_only_what_is_given_is_left_of_aliases():
    assert without_aliases("mobilenet", {"rho": 0.5, "alpha": 1}) == {"alpha": 1, "image_size": 112}


@pytest.mark.parametrize(
    ("family", "knobs", "message"),
    [
        ("mobilenet", {"rho": 0.5, "image_size": 224}, "Give one of the two"),
        ("mobilenet", {"rho": 0.001}, "image_size 0 is out of range"),
        ("densenet", {"variant": "121", "depth": 100}, "variant 121 and depth 100 are both given"),
        ("densenet", {"depth": 41}, "Nearest: 40 or 43"),
        ("densenet", {"depth": 102, "bottleneck": True}, "Nearest: 100 or 106"),
        ("densenet", {"image_size": 31, "stem": "imagenet"}, "too small for the imagenet stem"),
    ],
)
def test_knobs_that_contradict_each_other_are_refused(family, knobs, message):
    with pytest.raises(KnobError, match=message):
        resolve(family, knobs)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_published_or_by_default_is_called_unusual(family):
    row = FAMILIES[family]
    nets = [*(figure.knobs for figure in row.published), *row.grid, {}]
    for knobs in nets:
        resolved = resolve(family, knobs)
        assert [each for knob in row.all_knobs if (each := knob.remark(resolved.get(knob.name)))] == []


def test_a_value_outside_what_was_published_is_told():
    knob = FAMILIES["mobilenet"].knob("alpha")
    said = "alpha 9 is outside what was published, 0.25 to 1: what it gives is unknown"
    assert knob.remark(knob.parse("9")) == said
    assert knob.remark(0.25) is None


@pytest.mark.parametrize(
    ("family", "name", "text", "said"),
    [
        ("mobilenet", "alpha", "x", "alpha 'x' is not a number. Give a number above 0. The default is 1.0."),
        ("mobilenet", "alpha", "nan", "alpha nan is not a number."),
        ("densenet", "depth", "12.5", "depth '12.5' is not a whole number. Give an integer from 7 to 1000."),
        ("mobilenet", "shallow", "perhaps", "shallow 'perhaps' is not true or false."),
        ("mobilenet", "scale", "1,b", "scale '1,b' is not a number. Give a number, or three"),
        ("mobilenet", "alpha", "-1", "alpha -1.0 is out of range. Give a number above 0."),
    ],
)
def test_a_word_that_is_no_number_is_not_called_out_of_range(family, name, text, said):
    with pytest.raises(KnobError, match=re.escape(said)):
        FAMILIES[family].knob(name).parse(text)
