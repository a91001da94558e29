"""The configuration: presets, overrides, and one sentence for all that is wrong."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flows.config import check_given_source, load_config, parse_yaml, presets, validate_config
from minigpt.errors import InputError
from minigpt.io.store import sha256_of_file
from minigpt.recipe import RunConfig

SMOKE = load_config("smoke")


@pytest.mark.parametrize("preset", presets())
def test_every_preset_loads_and_survives_its_own_yaml(preset: str) -> None:
    loaded = load_config(preset)
    assert validate_config(yaml.safe_load(loaded.to_yaml()), (), preset) == loaded


@pytest.mark.parametrize("preset", presets())
def test_the_config_that_is_printed_has_a_sentence_above_each_field(preset: str) -> None:
    loaded = load_config(preset)
    printed = loaded.explained()
    assert validate_config(yaml.safe_load(printed), (), preset) == loaded
    without = [line for line in printed.splitlines() if not line.lstrip().startswith("#")]
    assert without == loaded.to_yaml().splitlines()
    assert "  # Windows in one forward pass.\n  batch_size: " in printed


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x85"), min_size=1))
def test_any_prompt_survives_being_printed(prompt: str) -> None:
    asked = SMOKE.model_copy(update={"sampling": SMOKE.sampling.model_copy(update={"prompt": prompt})})
    printed = asked.explained()
    printed = printed[printed.index("\nsampling:") :]
    assert yaml.safe_load(printed)["sampling"]["prompt"] == prompt


def test_every_field_has_a_description() -> None:
    def undescribed(schema: dict[str, object]) -> list[str]:
        properties = schema.get("properties", {})
        assert isinstance(properties, dict)
        return [name for name, field in properties.items() if "description" not in field]

    schema = RunConfig.model_json_schema()
    for part in (schema, *schema["$defs"].values()):
        assert not undescribed(part)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=7", ("seed",), 7),
        ("training.learning_rate=3e-4", ("training", "learning_rate"), 3e-4),
        ("training.max_steps=5000", ("training", "max_steps"), 5000),
        ("training.batch_size=4", ("training", "batch_size"), 4),
        ("model.context_length=64", ("model", "context_length"), 64),
        ("model.dropout=0", ("model", "dropout"), 0.0),
        ("split.validation_fraction=0.2", ("split", "validation_fraction"), 0.2),
        ("corpus.source=some/file.txt", ("corpus", "source"), "some/file.txt"),
        ("corpus.sha256=null", ("corpus", "sha256"), None),
    ],
)
def test_any_field_can_be_set(override: str, path: tuple[str, ...], value: object) -> None:
    found: object = load_config("verdict", [override])
    for name in path:
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize(
    ("windows", "asked", "dropout"),
    [(1599, "null", 0.1), (1600, "null", 0.0), (1599, "0", 0.0), (1600, "0.3", 0.3)],
)
def test_dropout_left_open_follows_how_often_the_text_is_read(windows: int, asked: str, dropout: float) -> None:
    """1,200 steps of 8 windows read 1,600 of them six times."""
    loaded = load_config("quickstart", [f"model.dropout={asked}"])
    resolved = loaded.resolved("0" * 64, windows)
    assert resolved.model.dropout == dropout
    assert resolved.resolved("0" * 64, 10 * windows) == resolved


def test_windows_that_overlap_do_not_make_a_text_longer() -> None:
    asked = ["model.dropout=null", "model.context_length=128", "split.stride_tokens=32"]
    loaded = load_config("quickstart", asked)
    assert loaded.resolved("0" * 64, 4 * 1599).model.dropout == 0.1
    assert loaded.resolved("0" * 64, 4 * 1600).model.dropout == 0.0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.learning_rate=-1", "training.learning_rate is -1"),
        ("training.learning_rate=.nan", "training.learning_rate is nan"),
        ("training.learning_rate=.inf", "training.learning_rate is inf"),
        ("training.learning_rat=1", "there is no field training.learning_rat"),
        ("training.learning_rat=1", "(did you mean training.learning_rate?); see"),
        ("max_steps=9", "there is no field max_steps (did you mean training.max_steps?)"),
        ("trainin.max_steps=9", "there is no field trainin (did you mean training?)"),
        ("colour=red", "there is no field colour; see"),
        ("model.heads=5", "heads 5 does not divide width 768"),
        ("tokenizer.vocabulary_size=300", "vocabulary_size 300 does not fit kind gpt2"),
        ("name=../../escape", "name is '../../escape'"),
        ("name=../../escape", "give at most 63 letters, digits, - and _, the first a letter or digit"),
        ("corpus.sha256=abc", "corpus.sha256 is 'abc': give 64 hexadecimal digits with small letters, or null"),
        ("seed", "is not of the form field=value"),
        ("seed.deep=1", "seed is a value and has no fields"),
        ("training.warmup_steps=90", "warmup_steps 90 leaves none of the 90 max_steps"),
        ("sampling.temperatures=!!python/object/apply:os.getcwd []", "not plain YAML"),
        ("seed=true", "seed: true and false are not numbers; give a number"),
        ("training.learning_rate=false", "training.learning_rate: true and false are not numbers; give a number"),
        ("sampling.temperatures=[true]", "sampling.temperatures: true and false are not numbers; give a number"),
        ("training.lr=1", "there is no field training.lr; see"),
        ("training.precision=off", "training.precision is 'off': Input should be 'fp32' or 'bf16'"),
        ("corpus=mine.txt", "corpus is 'mine.txt', but is a section with fields; see `minigpt config`"),
        ("sampling.temperatures=[2026-02-30]", "not plain YAML"),
        ("model.width=0x_", "model.width is '0x_': Input should be a valid integer"),
        ("model.width=0x40", "model.width is '0x40': Input should be a valid integer"),
        ("training.max_steps=2:00", "training.max_steps is '2:00': Input should be a valid integer"),
        ("training.learning_rate=1:30.5", "training.learning_rate is '1:30.5': Input should be a valid number"),
        ("training.max_steps=60 # twice", "training.max_steps is '60 # twice': Input should be a valid integer"),
        ("sampling.top_ks=[0x5]", "sampling.top_ks.0 is '0x5': Input should be a valid integer"),
        ("sampling.top_ks=[5, 0]", "sampling.top_ks.1 is 0"),
        ("sampling.temperatures=[-1]", "sampling.temperatures.0 is -1"),
        ("cost.hardware=abacus", "hardware 'abacus' is unknown; take one of"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(override: str, words: str) -> None:
    with pytest.raises(InputError, match=r"^[^\n]+$") as error:
        load_config("verdict", [override])
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("given", "prompt"),
    [("The ", "The "), (" The", "The"), ("'The '", "The "), ('"yes"', "yes"), ("'So: '", "So: "), ('" a\\n"', " a\n")],
)
def test_a_prompt_may_end_with_a_space(given: str, prompt: str) -> None:
    assert load_config("verdict", [f"sampling.prompt={given}"]).sampling.prompt == prompt


def test_spaces_behind_anything_but_a_prompt_are_none_of_it() -> None:
    spaced = ["training.optimizer=muon ", "name=mine\r", "corpus.source= mine.txt "]
    loaded = load_config("verdict", spaced)
    assert (loaded.training.optimizer, loaded.name, loaded.corpus.source) == ("muon", "mine", "mine.txt")


@pytest.mark.parametrize(
    "text",
    ["The #2 of 3", "and: so", "- a dash", "*starred*", "&", "%TAG !", "@home", "[a, b]", "{", "yes", "null", "07"],
)
def test_text_is_taken_as_it_is_given(text: str) -> None:
    given = load_config("verdict", [f"sampling.prompt={text}", f"corpus.source=My: folder/{text}"])
    assert given.sampling.prompt == text
    assert given.corpus.source == f"My: folder/{text}"


@pytest.mark.parametrize(
    ("override", "value"),
    [("corpus.sha256=null", None), ("held_out.source=~", None), ("held_out.source='null'", "null")],
)
def test_text_that_may_be_left_out_is_so_with_null(override: str, value: str | None) -> None:
    loaded = load_config("verdict", [override])
    section, _, field = override.partition("=")[0].partition(".")
    assert getattr(getattr(loaded, section), field) == value


@pytest.mark.parametrize(
    ("override", "value"), [("seed=0090", 90), ("seed=1_000", 1000), ("seed= +7 ", 7), ("seed=08", 8)]
)
def test_a_number_is_decimal(override: str, value: int) -> None:
    assert load_config("verdict", [override]).seed == value


def test_numbers_of_a_file_are_decimal_as_well() -> None:
    text = "seed: 0100\nsampling: {top_ks: [010, null]}\nname: 0777\ncorpus: {source: 12:30:45}\n"
    loaded = validate_config(parse_yaml(text, "mine"), (), "mine")
    assert (loaded.seed, loaded.sampling.top_ks, loaded.name) == (100, (10, None), "0777")
    assert loaded.corpus.source == "12:30:45"
    with pytest.raises(InputError, match=r"^mine: seed is '1:40': Input should be a valid integer"):
        validate_config(parse_yaml("seed: 1:40\ncorpus: {source: x}\n", "mine"), (), "mine")


@pytest.mark.parametrize("given", ["corpus: {source: null}", "corpus: {source: [a.txt, b.txt]}"])
def test_what_quotes_do_not_help_is_not_told_to_be_quoted(given: str) -> None:
    with pytest.raises(InputError, match=r"valid string$"):
        validate_config(parse_yaml(given, "mine"), (), "mine")


def test_what_a_file_takes_for_no_text_is_told_to_be_quoted() -> None:
    with pytest.raises(InputError, match=r"sampling.prompt is True: Input should be a valid string; quote it$"):
        validate_config(parse_yaml("corpus: {source: x}\nsampling: {prompt: yes}", "mine"), (), "mine")


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda s: st.dictionaries(st.text(), s)))
def test_no_value_breaks_the_config(value: object) -> None:
    try:
        validate_config({"corpus": {"source": "x"}, "training": value}, (), "test")
    except InputError as error:
        assert str(error)


def test_a_file_of_ones_own_takes_a_presets_place(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(load_config("verdict").to_yaml())
    assert load_config(str(tmp_path / "mine.yaml")) == load_config("verdict")


def test_a_field_that_is_given_twice_is_refused() -> None:
    text = "seed: 1\ntraining:\n  max_steps: 60\n  batch_size: 2\n  max_steps: 80\n"
    with pytest.raises(InputError, match=r"mine.yaml is not plain YAML: max_steps is given twice from line 3 on"):
        parse_yaml(text, "mine.yaml")
    assert parse_yaml(text.replace("80", "60").replace("  max_steps: 60\n", "", 1), "mine.yaml")["seed"] == 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("corpus=https://user:hunter2@host/x", "corpus is '(an address)', but is a section with fields"),
        ("seed.deep=https://user:hunter2@host/x", "seed is a value and has no fields"),
        ("sampling.top_ks=https://user:hunter2@host/x: y: 1", "the value is not plain YAML"),
        ("corpus.source=ftp://user:hunter2@host/x: y: 1", "is not http or https"),
        ("https://user:hunter2@host/x", "is not of the form field=value"),
        ("https://user:hunter2@host/x?key=1", "there is no field '(an address)'"),
        ("corpus.source=[https://user:hunter2@host/x]", "is not http or https"),
    ],
)
def test_what_is_wrong_with_an_address_is_told_without_its_password(override: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        load_config("verdict", [override])
    assert words in str(error.value)
    assert "hunter2" not in str(error.value)


def test_an_address_in_a_presets_place_is_told_without_its_password() -> None:
    with pytest.raises(InputError, match=r"^'\(an address\)' is neither a file nor one of the presets"):
        load_config("https://user:hunter2@host/x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: mine\ncorpus: {source: https://user:hunter2@host/x: y}\n", "in line 2"),
        ("name: 2026-13-01\n", "month must be in 1..12"),
        ("name: mine\nseed 5\ncorpus:\n", "while scanning a simple key from line 2 on, could not find expected ':'"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_without_its_lines(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=r"mine.yaml is not plain YAML: [^\n]+$") as error:
        load_config(str(tmp_path / "mine.yaml"))
    assert words in str(error.value)
    assert "hunter2" not in str(error.value)


def test_another_source_than_that_of_the_pinned_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache would have the pinned one, whatever the source holds."""
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path / "home"))
    for name in ("pinned.txt", "copy.txt"):
        (tmp_path / name).write_text("A text.")
    (tmp_path / "other.txt").write_text("Another text.")
    pinned = {"corpus": {"source": str(tmp_path / "pinned.txt"), "sha256": sha256_of_file(tmp_path / "pinned.txt")}}
    copy, other = (f"corpus.source={tmp_path / name}" for name in ("copy.txt", "other.txt"))

    def check(*overrides: str) -> None:
        check_given_source(validate_config(pinned, overrides, "test"), overrides)

    with pytest.raises(InputError, match=r"other.txt has sha256 .*, but the config pins .* corpus.sha256=null"):
        check(other)
    check(copy)
    check(other, "corpus.sha256=null")
    check("corpus.source=https://elsewhere/text")
    (tmp_path / "pinned.txt").write_text("A text that has changed, as a night's does; the run kept what it read.")
    check("seed=2")
